// The audits of GraphQL over HTTP, one line for each: its level, its id, its outcome, what it is about.
// Arguments: the address, then tokens, which take turns so that no caller's limit is what is judged.
import { serverAudits } from "graphql-http";

const [url, ...tokens] = process.argv.slice(2);
let calls = 0;

function fetchFn(input, init = {}) {
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${tokens[calls++ % tokens.length]}`);
  return fetch(input, { ...init, headers });
}

for (const audit of serverAudits({ url, fetchFn })) {
  const found = await audit.fn();
  const reason = found.reason ? ` (${found.reason})` : "";
  console.log(`${audit.name.split(" ")[0]} ${audit.id} ${found.status} ${audit.name}${reason}`);
}
