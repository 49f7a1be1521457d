// "Something has changed, look again": the socket brings room names only; each part of the page that
// shows the room gets a `nudge` event, on which htmx fetches its fragment again. data-room holds one or
// more names; `rental` means every rental, `rental:ID` one.
// While the socket is down the page asks by itself every few seconds, and once when it is back.

const POLL_MS = 5000;
const LONGEST_PAUSE_MS = 30000;

function shows(part, room) {
  return part.dataset.room.split(" ").some((name) => room === name || room.startsWith(`${name}:`));
}

function nudge(room) {
  for (const part of document.querySelectorAll("[data-room]")) {
    if (!room || shows(part, room)) part.dispatchEvent(new CustomEvent("nudge"));
  }
}

export function startLive() {
  if (!document.querySelector("[data-room]")) return;
  let tries = 0;
  let poll = null;
  const face = document.querySelector("[data-live]");

  function show(state) {
    if (face) face.textContent = state;
  }

  function down() {
    show("reconnecting, checking every 5 s");
    poll ??= setInterval(() => nudge(), POLL_MS);
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** tries) * (0.5 + Math.random() / 2);
    tries += 1;
    setTimeout(connect, pause);
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/live`);
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === "connected") {
        tries = 0;
        clearInterval(poll);
        poll = null;
        show("live");
        nudge();
      } else if (message.type === "nudge") {
        nudge(message.room);
      }
    };
    socket.onclose = down;
  }

  connect();
}
