// What does not fit a narrow window scrolls in a box of its own: let the keyboard reach it, and show that there is more.
const BOXES =
  ".bd-article pre, .bd-article div.cell_output, .bd-article div.cell_output .output, " +
  ".bd-article .pst-scrollable-table-container, .bd-article mjx-container[display]";

function mark(box) {
  const hidden = box.scrollWidth - box.clientWidth;
  box.classList.toggle("more", hidden > 1 && box.scrollLeft < hidden - 1);
  if (hidden > 1) {
    box.tabIndex = 0;
  } else {
    box.removeAttribute("tabindex");
  }
}

function markAll() {
  document.querySelectorAll(BOXES).forEach(mark);
}

window.addEventListener("load", markAll);
window.addEventListener("resize", markAll);
document.addEventListener("toggle", markAll, true); // an opened solution
document.addEventListener("scroll", (event) => event.target.matches?.(BOXES) && mark(event.target), true);
