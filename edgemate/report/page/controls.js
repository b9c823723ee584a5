// The sliders: one for the budget, one per exit but the last. Each is an input that the keyboard moves.

/** An element with attributes and children; text is text, whatever it contains. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The index of the slider position that is nearest to a threshold. */
function nearest(positions, threshold) {
  let best = 0;
  positions.forEach((position, index) => {
    if (Math.abs(position - threshold) < Math.abs(positions[best] - threshold)) {
      best = index;
    }
  });
  return best;
}

/**
 * Build the controls of a subject. `onChange` gets the thresholds and, where the solver chose them, the budget in MACs.
 * Returns a function that shows the state: thresholds, and the images that each exit stops.
 */
function buildControls(place, subject, onChange) {
  place.replaceChildren();
  let thresholds = subject.start.slice();
  let budget = null;
  const change = (changed, fromBudget = null) => {
    thresholds = changed;
    budget = fromBudget;
    onChange(thresholds, budget);
  };
  const presets = make("div", { class: "presets", role: "group", "aria-label": "Operating points" });
  for (const point of subject.points) {
    const button = make("button", { type: "button", title: point.goal }, point.name);
    button.addEventListener("click", () => change(point.thresholds.slice()));
    presets.append(button);
  }
  place.append(presets);
  const budgetSlider = subject.budgets.length > 0 ? addBudget(place, subject, change) : null;
  const exits = subject.positions.map((positions, k) =>
    addThreshold(place, subject, k, positions, (value) => change(thresholds.map((old, i) => (i === k ? value : old)))),
  );
  return (found) => {
    let arrived = subject.images;
    exits.forEach((exit, k) => {
      exit.show(thresholds[k], found.counts[k], arrived);
      arrived -= found.counts[k];
    });
    budgetSlider?.show(budget, found);
    presets.querySelectorAll("button").forEach((button, i) => {
      const same = subject.points[i].thresholds.every((value, k) => value === thresholds[k]);
      button.setAttribute("aria-pressed", String(same));
    });
  };
}

function addBudget(place, subject, change) {
  const id = "budget";
  const text = make("output", { for: id });
  const slider = make("input", { type: "range", id, min: 0, max: subject.budgets.length - 1, step: 1 });
  slider.addEventListener("input", () => {
    const chosen = subject.budgets[Number(slider.value)];
    change(chosen.thresholds.slice(), chosen.macs);
  });
  const label = make("label", { for: id }, "Budget: mean MACs per image");
  place.append(make("div", { class: "slider" }, label, text, slider));
  return {
    show(budget, found) {
      const index = subject.budgets.findIndex((one) => one.macs === (budget ?? Infinity));
      const near = subject.budgets.findIndex((one) => one.macs >= found.macs);
      slider.value = String(index >= 0 ? index : near >= 0 ? near : subject.budgets.length - 1);
      const own = `thresholds are set directly; they take ${engineering(found.macs)}`;
      const shown = budget === null ? own : `at most ${engineering(budget)} on the calibration split`;
      text.textContent = shown;
      slider.setAttribute("aria-valuetext", shown);
    },
  };
}

function addThreshold(place, subject, k, positions, change) {
  const id = `threshold-${k + 1}`;
  const text = make("output", { for: id });
  const slider = make("input", { type: "range", id, min: 0, max: positions.length - 1, step: 1 });
  const name = `Threshold of exit ${k + 1} (${subject.cuts[k]})`;
  const number = make("input", { type: "number", min: 0, max: 1, step: "any", "aria-label": `${name}, as a number` });
  slider.addEventListener("input", () => change(positions[Number(slider.value)]));
  number.addEventListener("change", () => {
    const value = Number(number.value);
    if (number.value !== "" && value >= 0 && value <= 1) {
      change(value);
    }
  });
  place.append(make("div", { class: "slider" }, make("label", { for: id }, name), number, slider, text));
  return {
    show(threshold, stopped, arrived) {
      slider.value = String(nearest(positions, threshold));
      number.value = shortest(threshold);
      const shown = `stops ${count(stopped)} of ${count(arrived)} images`;
      text.textContent = shown;
      slider.setAttribute("aria-valuetext", `${shortest(threshold)}: ${shown}`);
    },
  };
}
