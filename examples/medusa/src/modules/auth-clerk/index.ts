import { ModuleProvider, Modules } from "@medusajs/framework/utils"
import ClerkAuthProvider from "./service"

export default ModuleProvider(Modules.AUTH, { services: [ClerkAuthProvider] })
