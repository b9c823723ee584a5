// Numbers as the command line prints them: edgemate/wording.py in JavaScript.

/** `value` with so many decimals. Exact ties go to the even digit, as in Python; toFixed alone rounds them up. */
function fixed(value, digits) {
  const exact = Math.abs(value).toFixed(100);
  const end = exact.length - 100 + digits - (digits === 0 ? 1 : 0);
  const kept = exact.slice(0, end);
  const rest = exact.slice(end).replace(".", "");
  const isTie = /^50*$/.test(rest);
  if (isTie && "02468".includes(kept[kept.length - 1])) {
    return (value < 0 ? "-" : "") + kept;
  }
  return value.toFixed(digits);
}

/** A fraction in [0, 1] as a percentage: 0.9712 is "97.12 %". */
function percent(fraction, digits = 2) {
  return `${fixed(100 * fraction, digits)} %`;
}

/** Three significant digits and a prefix: 1234567 is "1.23 M". */
function engineering(value) {
  for (const prefix of ["", "k", "M", "G"]) {
    if (Math.abs(value) < 999.5) {
      return `${significant(value)} ${prefix}`.trim();
    }
    value /= 1000;
  }
  return `${significant(value)} T`;
}

/** Milliseconds with three significant digits and no exponent: 12.34 is "12.3". */
function milliseconds(value) {
  const digits = value < 0.1 ? 4 : value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return fixed(value, digits);
}

/** The shortest decimal of a threshold that compares alike: thresholds are compared as float32. */
function shortest(threshold) {
  for (let digits = 1; digits <= 17; digits += 1) {
    const text = String(Number(threshold.toPrecision(digits)));
    if (Math.fround(Number(text)) === Math.fround(threshold)) {
      return text;
    }
  }
  return String(threshold);
}

/** A count with commas: 1400 is "1,400". */
function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

function significant(value) {
  if (value === 0) {
    return "0";
  }
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  const shown = fixed(value, Math.max(0, 2 - exponent));
  return shown.includes(".") ? shown.replace(/\.?0+$/, "") : shown;
}
