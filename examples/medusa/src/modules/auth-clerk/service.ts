import { AbstractAuthModuleProvider, MedusaError } from "@medusajs/framework/utils"
import type { AuthIdentityProviderService, AuthenticationInput, AuthenticationResponse } from "@medusajs/framework/types"
import { verify, type JwtPayload } from "jsonwebtoken"

type Options = {
  publicKey: string // PEM: Clerk's dashboard, API keys, JWKS public key
  issuer: string // the Frontend API URL, exactly as in the token's iss
  authorizedParties: string[] // your storefronts' origins, as in the token's azp
}

// Signs a customer in with a Clerk session token:
//
//   POST /auth/customer/clerk {"token": "…"}  →  {"token": "<Medusa's own>"}
//
// It makes no identity. Lockstep makes it together with the customer, so that
// nobody signs in before there is a customer, nor after the user was deleted.
export default class ClerkAuthProvider extends AbstractAuthModuleProvider {
  static identifier = "clerk"
  static DISPLAY_NAME = "Clerk"

  static validateOptions(options: Record<string, unknown>) {
    const parties = options.authorizedParties
    if (!options.publicKey || !options.issuer || !Array.isArray(parties) || parties.length === 0) {
      throw new MedusaError(MedusaError.Types.INVALID_DATA, "auth-clerk: set publicKey, issuer and authorizedParties")
    }
  }

  constructor(_: unknown, protected readonly options: Options) {
    // @ts-ignore: Medusa's own providers pass both on, and its type takes none
    super(...arguments)
  }

  async register(): Promise<AuthenticationResponse> {
    return { success: false, error: "sign up with Clerk" }
  }

  async authenticate(
    input: AuthenticationInput,
    identities: AuthIdentityProviderService
  ): Promise<AuthenticationResponse> {
    const user = this.userOf(input.body?.token)
    if (!user) {
      return { success: false, error: "the Clerk session token is not valid" }
    }
    try {
      return { success: true, authIdentity: await identities.retrieve({ entity_id: user }) }
    } catch (error) {
      if (error instanceof MedusaError && error.type === MedusaError.Types.NOT_FOUND) {
        return { success: false, error: "the user has no customer yet: try again in a moment" }
      }
      throw error
    }
  }

  // The token's user, or nothing. One key signs all tokens of a Clerk instance;
  // only those of sessions have a sid.
  private userOf(token: unknown): string | undefined {
    if (typeof token !== "string") {
      return undefined
    }
    let claims: JwtPayload
    try {
      const { publicKey, issuer } = this.options
      claims = verify(token, publicKey, { algorithms: ["RS256"], issuer, clockTolerance: 5 }) as JwtPayload
    } catch {
      return undefined
    }
    const admitted =
      typeof claims.sid === "string" && claims.sts !== "pending" && this.options.authorizedParties.includes(claims.azp)
    return admitted && claims.sub?.startsWith("user_") ? claims.sub : undefined
  }
}
