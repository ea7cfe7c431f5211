import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client/core";
import { SetContextLink } from "@apollo/client/link/context";
import { RetryLink } from "@apollo/client/link/retry";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { tap } from "rxjs";
import { overSocket } from "./sockets.js";

export function apolloOverSocket(url, token) {
  const socket = overSocket(url, token);
  return { client: new ApolloClient({ cache: new InMemoryCache(), link: new GraphQLWsLink(socket) }), socket };
}

export function apolloOverHttp(url, token) {
  const again = new RetryLink({
    attempts: (count, operation, error) => operation.operationType === "subscription" && error.statusCode !== 401,
    delay: { initial: 100, max: 10_000, jitter: true },
  });
  const resuming = new ApolloLink((operation, forward) =>
    forward(operation).pipe(
      tap((result) => {
        const after = result.extensions?.cursor ?? operation.variables.after;
        operation.variables = { ...operation.variables, after };
      }),
    ),
  );
  const signed = new SetContextLink(async () => ({ headers: { authorization: `Bearer ${await token()}` } }));
  const link = ApolloLink.from([again, resuming, signed, new HttpLink({ uri: url })]);
  return { client: new ApolloClient({ cache: new InMemoryCache(), link }) };
}
