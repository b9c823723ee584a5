// The page of a profile: reads the data, connects controls, figures, charts, classes and images.

const data = JSON.parse(document.getElementById("data").textContent);
const subjects = data.subjects.map(decodeSubject);
const byId = (id) => document.getElementById(id);
const units = Object.fromEntries(Object.entries(data.charts).map(([axis, chart]) => [axis, chart.unit]));

let current = 0;
let axis = Object.keys(data.charts)[0];
let allClasses = false;
let kind = "scaled";
let latest = null;

function choose(number) {
  current = number;
  const subject = subjects[number];
  document.querySelectorAll("[data-subject]").forEach((element) => {
    element.hidden = Number(element.dataset.subject) !== number;
  });
  byId("classes-source").textContent = subject.source;
  const show = buildControls(byId("controls"), subject, update);
  drawChart(byId(`reliability-${number}`), subject.reliability).then((figure) => showLines(figure, kind));

  function update(thresholds, budget) {
    const found = simulate(subject, thresholds);
    latest = { thresholds, budget, found };
    show(found);
    showFigures(subject, found);
    showCommands(subject, thresholds, budget);
    showClasses(byId("classes"), byId("all-classes"), subject, found, allClasses);
    if (subject.thumbnails.length > 0) {
      showImages(byId(`first-${number}`), subject, found, 0);
      showImages(byId(`last-${number}`), subject, found, subject.exits - 1);
    }
    showMarker();
    announce(found);
  }
  update(subject.start.slice(), null);
}

function showFigures(subject, found) {
  const shown = {
    accuracy: percent(found.accuracy),
    ms: found.ms === null ? "not measured" : `${milliseconds(found.ms)} ms`,
    p99: found.p99 === null ? "not measured" : `${milliseconds(found.p99)} ms`,
    macs: engineering(found.macs),
    mj: found.mj === null ? "not measured" : `${milliseconds(found.mj)} mJ`,
  };
  for (const [name, text] of Object.entries(shown)) {
    byId(`figure-${name}`).textContent = text;
  }
  byId("figure-mj").parentElement.hidden = found.mj === null;
  byId("shares").replaceChildren(exitBar(found.counts));
  byId("figure-shares").textContent = found.fractions.map((fraction) => fixed(100 * fraction, 1)).join(" ");
}

/** The commands that give this operating point, and these figures. */
function showCommands(subject, thresholds, budget) {
  const given = thresholds.map(shortest).join(",");
  const byThreshold = thresholds.length === 0 ? "" : ` --thresholds ${given}`;
  const chosen = budget === null ? byThreshold : ` --mean-macs ${budget}`;
  byId("calibrate-line").hidden = !subject.calibrated;
  byId("calibrate").textContent = `edgemate calibrate ${subject.path}${chosen}`;
  byId("evaluate").textContent = `edgemate evaluate ${subject.path}${byThreshold}`;
  byId("evaluate-line").hidden = subject.kind !== "run";
}

function showMarker() {
  const number = current;
  const here = latest.found;
  const shown = axis;
  drawChart(byId(`chart-${shown}`), data.charts[shown].item).then((figure) => {
    moveMarker(figure, number, here[shown], here.accuracy, units[shown]);
  });
}

let announcing = 0;

/** Tell a screen reader the figures once the slider rests. */
function announce(found) {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    byId("announcement").textContent = `accuracy ${percent(found.accuracy)}, ${engineering(found.macs)} MACs on average`;
  }, 600);
}

startTheme();
byId("content").hidden = false;
byId("subject")?.addEventListener("change", (event) => choose(Number(event.target.value)));
document.querySelectorAll("input[name=axis]").forEach((radio) => {
  radio.addEventListener("change", () => {
    axis = radio.value;
    document.querySelectorAll("[data-axis]").forEach((element) => {
      element.hidden = element.dataset.axis !== axis;
    });
    showMarker();
  });
});
document.querySelectorAll("input[name=kind]").forEach((radio) => {
  radio.addEventListener("change", () => {
    kind = radio.value;
    const subject = subjects[current];
    drawChart(byId(`reliability-${current}`), subject.reliability).then((figure) => showLines(figure, kind));
  });
});
byId("all-classes").addEventListener("click", () => {
  allClasses = true;
  showClasses(byId("classes"), byId("all-classes"), subjects[current], latest.found, allClasses);
});
choose(0);
