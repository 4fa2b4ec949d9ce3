"use strict";
// Read-out under the pointer: the nearest recorded step, and each line's value there or last before it.
for (const chart of document.querySelectorAll(".chart:has(.readout)")) {
  const plot = chart.querySelector(".plot");
  const area = chart.querySelector(".area");
  const cursor = chart.querySelector(".cursor");
  const tip = chart.querySelector(".tip");
  const lines = JSON.parse(chart.querySelector(".readout").textContent);
  const hide = () => { cursor.hidden = tip.hidden = true; };
  const show = (event) => {
    const box = area.getBoundingClientRect();
    const outer = plot.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width;
    let best = null;
    for (const line of lines) {
      line.x.forEach((x, i) => {
        if (best === null || Math.abs(x - at) < Math.abs(best.x - at)) best = { x, step: line.step[i] };
      });
    }
    if (best === null || at < -0.05 || at > 1.05) return hide();
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = "step " + best.step;
    tip.append(head);
    for (const line of lines) {
      const i = line.x.findLastIndex((x) => x <= best.x + 1e-9);
      if (i < 0) continue;
      const row = document.createElement("span");
      const where = line.step[i] === best.step ? "" : " (step " + line.step[i] + ")";
      row.className = line.look;
      row.textContent = line.name + " " + line.text[i] + where;
      tip.append(row);
    }
    const left = box.left - outer.left + best.x * box.width;
    cursor.hidden = tip.hidden = false;
    cursor.style.left = left + "px";
    tip.style.left = Math.min(Math.max(left - tip.offsetWidth / 2, 0), outer.width - tip.offsetWidth) + "px";
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", hide);
}

// One sound at a time, with a line across its spectrogram where it is. In a sheet's narrow columns, a button plays it.
const players = [...document.querySelectorAll("audio")];
for (const audio of players) {
  const box = audio.closest(".item, .pair");
  const head = box.querySelector(".playhead");
  const button = box.matches(".item") ? document.createElement("button") : null;
  const draw = () => {
    if (button) button.textContent = audio.paused ? "\u25b6 Play" : "\u25a0 Stop";
    if (head) {
      head.hidden = audio.paused && audio.currentTime === 0;
      head.style.left = (audio.duration ? 100 * audio.currentTime / audio.duration : 0) + "%";
    }
    if (!audio.paused) requestAnimationFrame(draw);
  };
  audio.addEventListener("play", () => {
    players.filter((other) => other !== audio).forEach((other) => other.pause());
    draw();
  });
  audio.addEventListener("pause", draw);
  audio.addEventListener("seeked", draw);
  audio.addEventListener("ended", () => { audio.currentTime = 0; });
  if (!button) continue;
  button.type = "button";
  button.className = "play";
  button.setAttribute("aria-description", audio.getAttribute("aria-label"));
  button.addEventListener("click", () => {
    if (audio.paused) return audio.play();
    audio.pause();
    audio.currentTime = 0;
  });
  audio.controls = false;
  audio.after(button);
  draw();
}

// A class of the legend, when pressed, keeps its strength in all maps while the others become faint.
for (const space of document.querySelectorAll(".space")) {
  const buttons = [...space.querySelectorAll(".choices button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const chosen = button.getAttribute("aria-pressed") === "false";
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(chosen && other === button)));
      for (const marks of space.querySelectorAll(".scatter path")) {
        marks.classList.toggle("faint", chosen && marks.dataset.class !== button.dataset.class);
      }
    });
  }
}

// A button to copy the command, where the browser allows it.
for (const box of navigator.clipboard ? document.querySelectorAll(".command") : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  box.append(button);
}
