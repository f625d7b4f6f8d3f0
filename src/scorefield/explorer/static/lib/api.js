/* What is asked of the server: JSON, tensors, and streams of JSON lines. An error's message is the server's own sentence. */

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.type = problem?.type ?? "";
  }
}

let pending = 0;         // what is asked for, or will be soon; told on the root element, for tests and style sheets

const count = (change) => {
  pending += change;
  document.documentElement.dataset.pending = pending;
};

/* What `act` awaits is pending. */
export async function counted(act) {
  count(1);
  try { return await act(); } finally { count(-1); }
}

/* Calls `act` after so many milliseconds, as one does who waits for a hand to rest; what it returns takes that back. */
export function later(act, wait = 0) {
  let waits = true;
  const over = () => { if (waits) count(-1); waits = false; };
  const timer = setTimeout(() => { over(); act(); }, wait);
  count(1);
  return () => { clearTimeout(timer); over(); };
}

async function request(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `scorefield explore` still running?");
  }
  if (!answer.ok) throw new ApiError(answer.status, await answer.json().catch(() => null));
  return answer;
}

const posting = (body, signal) => ({
  method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal,
});

export function get(address, {signal} = {}) {
  return counted(async () => (await request(address, {signal})).json());
}

export function post(address, body, {signal} = {}) {
  return counted(async () => (await request(address, posting(body, signal))).json());
}

/* for await (const line of stream("/api/walk", body, {signal})): one object a line, as they come; leaving the loop or
   aborting the signal ends the request, on the server too. */
export async function* stream(address, body, {signal} = {}) {
  const answer = await counted(() => request(address, posting(body, signal)));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
    }
    if (rest.trim()) yield JSON.parse(rest);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/* A packed tensor, {shape, float32}, as a Float32Array with its shape. */
export function unpack({shape, float32}) {
  const bytes = Uint8Array.from(atob(float32), (letter) => letter.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  values.shape = shape;
  return values;
}

/* The latest question wins: `ask(body)` while one is under way waits for it, and then only the last body is sent.
   `answered(answer, body)` gets what came; errors go to `failed`. */
export function latest(address, answered, failed) {
  let waiting = null, busy = false, over = null;
  async function next() {
    busy = true;
    while (waiting) {
      const body = waiting;
      waiting = null;
      over = new AbortController();
      try {
        const answer = await post(address, body, {signal: over.signal});
        answered(answer, body, waiting !== null);
      } catch (error) {
        if (error.name !== "AbortError" && waiting === null) failed(error);
      }
    }
    busy = false;
  }
  return {
    ask(body) { waiting = body; if (!busy) next(); },
    drop() { waiting = null; },
    stop() { waiting = null; over?.abort(); },
    get busy() { return busy; },
  };
}
