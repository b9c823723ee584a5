// Images that leave at exit 1 and images that need the last exit, at the thresholds that are set.

const MOST_IMAGES = 20;

/** Show up to `MOST_IMAGES` of the page's images that leave at one exit, counted from 0. */
function showImages(place, subject, found, exit) {
  const here = subject.thumbnails.filter((one) => found.taken[one.index] === exit).slice(0, MOST_IMAGES);
  place.replaceChildren(...here.map((one) => imageFigure(subject, one, exit)));
  if (here.length === 0) {
    place.append(make("p", {}, "None of the images of this page."));
  }
}

function imageFigure(subject, one, exit) {
  const label = subject.classes[subject.labels[one.index]];
  const named = subject.classes[one.named[exit]];
  const right = label === named;
  const said = right ? `✓ ${label}` : `✗ ${named}, is ${label}`;
  const figure = make("figure", { class: right ? "right" : "wrong" });
  const alt = `Image ${one.index}: ${label}, taken for ${named}`;
  figure.append(make("img", { src: one.source, alt, loading: "lazy" }), make("figcaption", {}, said));
  return figure;
}
