// The page of a comparison: one budget for all methods, a table of what they reach, and the chart.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const chart = data.charts.macs;
const drawing = drawChart(byId("chart-macs"), chart.item);

function showBudget(index) {
  const rows = data.methods.map((method, number) => ({ number, label: method.label, ...method.levels[index] }));
  const budgets = rows.map((row) => row.budget);
  const low = engineering(Math.min(...budgets));
  const high = engineering(Math.max(...budgets));
  const text = low === high ? `at most ${low}` : `at most ${low} to ${high}, as the methods' networks differ`;
  byId("budget-text").textContent = text;
  byId("budget").setAttribute("aria-valuetext", text);
  byId("announcement").textContent = text;
  const spread = (row) => (row.deviation === null ? "" : ` ± ${fixed(100 * row.deviation, 2)}`);
  const ranked = rows.slice().sort((one, other) => other.accuracy - one.accuracy);
  byId("budgeted").replaceChildren(
    ...ranked.map((row) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, row.label),
        make("td", {}, percent(row.accuracy) + spread(row)),
        make("td", {}, engineering(row.macs)),
      ),
    ),
  );
  drawing.then((figure) => rows.forEach((row) => moveMarker(figure, row.number, row.macs, row.accuracy, chart.unit)));
}

startTheme();
const levels = Math.min(...data.methods.map((method) => method.levels.length));
if (levels > 0) {
  const slider = byId("budget");
  slider.max = String(levels - 1);
  slider.value = String(Math.floor((levels - 1) / 2));
  slider.addEventListener("input", () => showBudget(Number(slider.value)));
  byId("content").hidden = false;
  showBudget(Number(slider.value));
}
