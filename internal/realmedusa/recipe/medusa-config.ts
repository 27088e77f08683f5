import { defineConfig } from "@medusajs/framework/utils"

// A shop as small as Medusa allows. No redis: the event bus, the cache, the
// locks and the workflows are in memory. The customer's sign-in with Clerk is
// examples/medusa, which `make test-medusa` copies into src.
module.exports = defineConfig({
  admin: { disable: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    // Must exist already: Medusa sets search_path to it, alone.
    databaseSchema: process.env.MEDUSA_SCHEMA,
    databaseDriverOptions: { ssl: false },
    http: {
      storeCors: "http://localhost:8000",
      adminCors: "http://localhost:9000",
      authCors: "http://localhost:8000,http://localhost:9000",
      jwtSecret: "of a server that lives for one test",
      cookieSecret: "of a server that lives for one test",
      authMethodsPerActor: { user: ["emailpass"], customer: ["emailpass", "clerk"] },
    },
  },
  modules: [
    {
      resolve: "@medusajs/medusa/auth",
      options: {
        providers: [
          { resolve: "@medusajs/medusa/auth-emailpass", id: "emailpass" },
          {
            resolve: "./src/modules/auth-clerk",
            id: "clerk",
            options: {
              publicKey: process.env.CLERK_JWT_KEY,
              issuer: process.env.CLERK_ISSUER,
              authorizedParties: ["http://localhost:8000"],
            },
          },
        ],
      },
    },
  ],
})
