// Accuracy and exits by class, at the thresholds that are set.

const FIRST_CLASSES = 30;

/** Accuracy and number of images at each exit, of every class that has images; the least accurate first. */
function byClass(subject, found) {
  const rows = subject.classes.map((name) => ({ name, images: 0, right: 0, counts: subject.macs.map(() => 0) }));
  for (let image = 0; image < subject.images; image += 1) {
    const row = rows[subject.labels[image]];
    row.images += 1;
    row.counts[found.taken[image]] += 1;
    row.right += isCorrect(subject, found.taken[image], image) ? 1 : 0;
  }
  const present = rows.filter((row) => row.images > 0);
  return present.sort((one, other) => one.right / one.images - other.right / other.images);
}

/** A bar whose pieces are the images that leave at each exit. */
function exitBar(counts) {
  const images = counts.reduce((sum, number) => sum + number, 0);
  const shares = counts.map((number) => (images === 0 ? 0 : number / images));
  const bar = make("div", { class: "bar", role: "img" });
  bar.setAttribute("aria-label", shares.map((share, k) => `exit ${k + 1}: ${percent(share, 1)}`).join(", "));
  shares.forEach((share, k) => {
    const piece = make("span", { class: `piece exit-${k % 8}`, title: `exit ${k + 1}: ${percent(share, 1)}` });
    piece.style.width = `${100 * share}%`;
    piece.textContent = share >= 0.12 ? String(k + 1) : "";
    bar.append(piece);
  });
  return bar;
}

/** Fill the table of classes; `all` shows more than the first. */
function showClasses(body, button, subject, found, all) {
  const rows = byClass(subject, found);
  const shown = all ? rows : rows.slice(0, FIRST_CLASSES);
  body.replaceChildren(
    ...shown.map((row) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, row.name),
        make("td", { class: "number" }, count(row.images)),
        make("td", { class: "number" }, percent(row.right / row.images, 1)),
        make("td", { class: "wide" }, exitBar(row.counts)),
      ),
    ),
  );
  button.hidden = all || rows.length <= FIRST_CLASSES;
  button.textContent = `Show all ${count(rows.length)} classes`;
}
