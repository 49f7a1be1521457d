// A form with data-ask destroys something: it is sent after a yes only.
export function startAsking() {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.ask;
    if (question && !window.confirm(question)) event.preventDefault();
  });
}
