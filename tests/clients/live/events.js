import { createClient, NetworkError } from "graphql-sse";
import { pause, resuming } from "./resuming.js";

export function overEvents(url, token) {
  let answer;
  const client = createClient({
    url: `${url}/stream`,
    headers: async () => ({ authorization: `Bearer ${await token()}` }),
    fetchFn: async (...request) => (answer = await fetch(...request)),
    retryAttempts: Infinity,
    retry: async (attempt) => {
      if (answer?.status === 401) throw new Error("401: that token is no good");
      await pause(attempt);
    },
    on: {
      // A stream ends with its token; what is thrown as an error of the network is tried again, with the next token.
      message({ data }) {
        const [error] = data?.errors ?? [];
        if (error?.extensions?.code === "UNAUTHENTICATED") throw new NetworkError(error);
      },
    },
  });
  return resuming(client);
}
