// An operation that begins again goes on after what it was told last: its `$after` stays at the newest cursor. One that
// was told nothing yet goes on from where its socket began, which a client of sockets says by `place`.
export function resuming(client, place = () => undefined) {
  const subscribe = (payload, sink) => {
    const variables = { ...payload.variables };
    const next = (result) => {
      variables.after = result.extensions?.cursor ?? variables.after;
      sink.next(result);
    };
    const forget = client.on?.("closed", () => (variables.after ??= place()));
    const error = (reason) => (forget?.(), sink.error(reason));
    const complete = () => (forget?.(), sink.complete());
    return client.subscribe({ ...payload, variables }, { next, error, complete });
  };
  return { ...client, subscribe };
}

// Soon at first, then ever more seldom, and never all clients at the same time.
export function pause(attempt) {
  const most = Math.min(10_000, 100 * 2 ** attempt);
  return new Promise((done) => setTimeout(done, Math.random() * most));
}
