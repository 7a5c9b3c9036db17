"use strict";
document.documentElement.classList.add("live");
for (const stage of document.querySelectorAll(".stage")) {
  const frame = stage.querySelector(".panels");
  const panels = [...stage.querySelectorAll(".panel")];
  const range = stage.querySelector("input");
  const left = stage.querySelector("select.left");
  const right = stage.querySelector("select.right");
  stage.querySelector(".divider").hidden = false;
  stage.querySelector(".choices").hidden = false;

  function move(percent) {
    range.value = percent;
    frame.style.setProperty("--at", range.value + "%");
    const label = (select) => select.selectedOptions[0].textContent;
    range.setAttribute("aria-valuetext", range.value + " % " + label(left) + ", the rest " + label(right));
  }

  function choose() {
    panels.forEach((panel, index) => {
      panel.classList.toggle("left", index === left.selectedIndex);
      panel.classList.toggle("right", index === right.selectedIndex);
    });
    move(range.value);
  }

  // The same picture on both sides would be no comparison: the other side takes what this one showed.
  let shown = [left.selectedIndex, right.selectedIndex];
  for (const select of [left, right]) {
    select.addEventListener("change", () => {
      if (left.selectedIndex === right.selectedIndex) {
        if (select === left) right.selectedIndex = shown[0];
        else left.selectedIndex = shown[1];
      }
      shown = [left.selectedIndex, right.selectedIndex];
      choose();
    });
  }

  function follow(event) {
    const box = frame.getBoundingClientRect();
    move(Math.round((100 * (event.clientX - box.left)) / box.width));
  }

  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    frame.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    follow(event);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) follow(event);
  });
  range.addEventListener("input", () => move(range.value));
  choose();
}
