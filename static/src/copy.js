// A button with data-copy copies the text of the element it names, and says so.
export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    if (!navigator.clipboard) {
      // Plain http beyond this machine has no clipboard: select the line, so that one key copies it.
      window.getSelection().selectAllChildren(source);
      return;
    }
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
