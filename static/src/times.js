// What moves by itself between two fetches: clocks in the reader's own zone, time left, the meter.

const SHORT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const meters = new WeakMap();

// The title is ours: a fragment that was fetched again comes without it and is told once more.
function local(element) {
  if (element.title) return;
  element.title = element.textContent;
  element.textContent = SHORT.format(new Date(element.dateTime));
}

function left(element) {
  const seconds = Math.ceil((new Date(element.dateTime) - Date.now()) / 1000);
  if (seconds <= 0) element.textContent = element.dataset.after;
  else element.textContent = `for ${Math.floor(seconds / 60)} min ${seconds % 60} s more`;
}

// The server's figure plus rate x seconds since it came; every fetch puts the server's figure back.
function meter(element) {
  let known = meters.get(element);
  if (known?.cost !== element.dataset.cost) {
    known = { cost: element.dataset.cost, at: performance.now() };
    meters.set(element, known);
  }
  const passed = Math.floor((performance.now() - known.at) / 1000);
  const amount = Number(known.cost) + (Number(element.dataset.rate) * passed) / 1e9;
  element.textContent = element.dataset.written.replace("#", amount.toFixed(6));
}

function tell() {
  document.querySelectorAll("time[data-local]").forEach(local);
  document.querySelectorAll("time[data-after]").forEach(left);
  document.querySelectorAll("[data-rate]").forEach(meter);
}

export function startTimes() {
  tell();
  document.addEventListener("htmx:after:swap", tell);
  setInterval(tell, 1000);
}
