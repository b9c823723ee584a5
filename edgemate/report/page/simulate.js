// What thresholds do to every image, as edgemate/profiling/at_thresholds.py computes it.

/** A subject of the page with its arrays decoded. */
function decodeSubject(stored) {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return {
    ...stored,
    exits: stored.macs.length,
    labels: new Uint16Array(bytes(stored.labels).buffer),
    confidences: stored.confidences.map((text) => new Float32Array(bytes(text).buffer)),
    correct: stored.correct.map(bytes),
  };
}

/** Whether exit `k`, counted from 0, is right about an image. */
function isCorrect(subject, k, image) {
  return ((subject.correct[k][image >> 3] >> (image & 7)) & 1) === 1;
}

/** Where every image leaves (from 0), and the figures of that. Thresholds are compared in float32, as numpy does. */
function simulate(subject, thresholds) {
  const limits = Float32Array.from(thresholds);
  const last = subject.exits - 1;
  const taken = new Uint8Array(subject.images);
  const counts = new Array(subject.exits).fill(0);
  let right = 0;
  for (let image = 0; image < subject.images; image += 1) {
    let exit = 0;
    while (exit < last && !(subject.confidences[exit][image] > limits[exit])) {
      exit += 1;
    }
    taken[image] = exit;
    counts[exit] += 1;
    right += isCorrect(subject, exit, image) ? 1 : 0;
  }
  return {
    taken,
    counts,
    accuracy: right / subject.images,
    fractions: counts.map((number) => number / subject.images),
    macs: meanOf(subject.macs, counts, subject.images),
    ms: meanOf(subject.ms, counts, subject.images),
    mj: meanOf(subject.mj, counts, subject.images),
    p99: highOf(subject.ms, counts, subject.images),
  };
}

/** The mean over images of the cost of the exit that each takes; null where the cost is not known. */
function meanOf(costs, counts, images) {
  return costs === null ? null : counts.reduce((sum, number, k) => sum + number * costs[k], 0) / images;
}

/** The lowest cost that 99 % of the images keep within, in whatever order the costs of the exits are. */
function highOf(costs, counts, images) {
  if (costs === null) {
    return null;
  }
  const order = costs.map((_, k) => k).sort((one, other) => costs[one] - costs[other]);
  let reached = 0;
  const exit = order.find((k) => {
    reached += counts[k];
    return 100 * reached >= 99 * images;
  });
  return costs[exit];
}
