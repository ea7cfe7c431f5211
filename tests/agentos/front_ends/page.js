// The calls of the two front ends from before, as they make them: same paths, headers and bodies, in the same order.
// What came back is reported to the server that this page is from. The only thing added is who calls, which a proxy in
// front of an unmodified front end adds.

const config = await (await fetch("/config.json")).json();
const found = {};

async function call(name, method, path, { headers = {}, body } = {}) {
  const answer = await fetch(config.api + path, {
    method,
    headers: { ...headers, Authorization: `Bearer ${config.token}` },
    body: body instanceof FormData || body === undefined ? body : JSON.stringify(body),
  });
  const told = { status: answer.status, body: await answer.json() };
  found[name] = told;
  return told.body;
}

const JSON_ONLY = { "Content-Type": "application/json" };
const CONSOLE = { ...JSON_ONLY, "X-Admin-Request": "true" };

// The console: one read of everything, actions by name, a job that was clicked.
async function consoleFromBefore() {
  const act = (name, action, payload, headers = {}) =>
    call(name, "POST", "/api/admin/action", {
      headers: { ...JSON_ONLY, "X-Trace-Id": `trace_${crypto.randomUUID()}`, ...headers },
      body: { action, payload },
    });
  await call("ssot", "GET", "/api/admin/ssot", { headers: CONSOLE });
  await act("pause", "queue.pause", { queue_name: "default" });
  await act("resume", "queue.resume", { queue_name: "default" });
  await act("retry", "job.retry", { job_id: config.failed_job });
  await act("retry again", "job.retry", { job_id: config.failed_job });
  await act("report", "analytics.generate_report", { type: "performance", format: "json", timestamp: Date.now() });
  await act("cache", "cache.clear", { cache_type: "all" });
  await act("enter", "system.maintenance", { action: "enter", reason: "manual" });
  await act("exit", "system.maintenance", { action: "exit", reason: "manual" });
  await act("clear", "queue.clear", { confirmation: true }, { "X-Idempotency-Key": crypto.randomUUID() });
  await act("unknown", "queue.explode", {});
  await call("nameless", "POST", "/api/admin/action", { headers: JSON_ONLY, body: { payload: { job_id: "1" } } });
  await call("clicked job", "GET", `/api/jobs/${config.done_job}`, { headers: CONSOLE });
}

// The front end of users: agents at its start, a video sent piece by piece, a job made and followed.
async function frontEndOfUsers() {
  const options = { headers: JSON_ONLY };
  await call("agents", "GET", "/api/agents", options);
  await call("health", "GET", "/health", options);
  await call("recent clips", "GET", "/api/clips/recent?limit=10", options);
  const video = await (await fetch("/video.mp4")).arrayBuffer();
  const chunk_size = 65536;
  const init = await call("init", "POST", "/api/upload/init", {
    ...options,
    body: { filename: "holiday.mp4", file_size: video.byteLength, chunk_size },
  });
  const total_chunks = Math.ceil(video.byteLength / chunk_size);
  for (let index = 0; index < total_chunks; index++) {
    const form = new FormData();
    form.append("file", new Blob([video.slice(index * chunk_size, (index + 1) * chunk_size)]));
    form.append("chunk_index", index);
    form.append("upload_id", init.uploadId);
    await call("chunk", "POST", "/api/upload/chunk", { body: form });
  }
  const file = await call("finalize", "POST", "/api/upload/finalize", {
    ...options,
    body: { upload_id: init.uploadId, total_chunks },
  });
  const asked = { workflow_type: "video_processing", intent: "visual_clips" };
  await call("create", "POST", "/api/jobs/create", {
    ...options,
    body: {
      ...asked,
      video_url: "https://example.org/v.mp4",
      user_id: "anonymous",
      options: { priority: "normal", workflowType: "video_processing", userId: "anonymous" },
    },
  });
  const made = await call("create from file", "POST", "/api/jobs/create", {
    ...options,
    body: { input_source: file.file_path, user_id: "user1", workflow_type: "video_processing" },
  });
  await call("sourceless", "POST", "/api/jobs/create", { ...options, body: { ...asked, video_url: "  " } });
  await call("status", "GET", `/api/jobs/${made.job_id}/status`, options);
  await call("status of none", "GET", "/api/jobs/00000000-0000-0000-0000-000000000000/status", options);
  await call("clips", "GET", `/api/jobs/${config.done_job}/clips`, options);
  await call("job", "GET", `/api/jobs/${config.done_job}`, options);
  await call("history", "GET", "/api/jobs/history?user_id=user1&limit=10&offset=0", options);
  await call("queue", "GET", "/api/queue/stats", options);
}

// Both open a socket, and live on what comes over it.
function overSocket(url) {
  const heard = [];
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const end = (why) => {
      clearTimeout(late);
      socket.close();
      resolve({ why, heard });
    };
    const late = setTimeout(() => end("late"), 45000);
    socket.onerror = () => end("error");
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "subscribe", channel: "admin_updates", client_id: "admin_1" }));
      socket.send(JSON.stringify({ type: "subscribe_job", job_id: config.done_job }));
      socket.send(JSON.stringify({ type: "request_queue_stats" }));
      socket.send(JSON.stringify({ type: "ping" }));
    };
    socket.onmessage = async (event) => {
      const message = JSON.parse(event.data);
      const data = message.data ? { ...message, data: Object.keys(message.data) } : message;
      heard.push(data);
      if (message.type === "ping") socket.send(JSON.stringify({ type: "pong" }));
      if (message.type === "pong") {
        const body = { video_url: "https://example.org/w.mp4" };
        await call("change", "POST", "/api/jobs/create", { headers: JSON_ONLY, body });
        // What the warmer does every five seconds.
        await fetch("/ring/warm", { method: "POST" });
      }
      if (message.type === "admin_data_update") end("told");
    };
  });
}

let failure = null;
try {
  await consoleFromBefore();
  await frontEndOfUsers();
  document.cookie = `agentos_token=${config.token}; SameSite=Strict`;
  found.socket = await overSocket(config.socket);
} catch (error) {
  failure = String(error);
}
await fetch("/report", { method: "POST", headers: JSON_ONLY, body: JSON.stringify({ found, failure }) });
