// An OpenID provider that nobody here wrote, as a second opinion on `private_key_jwt`: it lets one
// service app have access tokens, at the path where Okta has its token endpoint.
//
//   node oidc.mjs MODULES CLIENT_ID PUBLIC_JWK     prints its address, and goes on until it is stopped
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, client_id, jwk] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), "here.js"));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

// What it advises for production would be taken for its address.
console.info = console.warn = console.error;

const server = createServer((request, answer) => serve(request, answer));
let serve;
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id, jwks: { keys: [JSON.parse(jwk)] }, token_endpoint_auth_method: "private_key_jwt",
      grant_types: ["client_credentials"], response_types: [], redirect_uris: [],
    }],
    scopes: ["okta.users.read", "okta.groups.read", "okta.groups.manage"],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    routes: { token: "/oauth2/v1/token" },
    enabledJWA: { clientAuthSigningAlgValues: ["RS256", "ES256"] },
    ttl: { ClientCredentials: 3600 },
  });
  serve = provider.callback();
  console.log(issuer);
});
