// Light and dark: as the system has it, until the reader chooses.

const themeListeners = [];
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? prefersDark.matches : chosen === "dark";
}

/** Call `listener` now and whenever the theme changes. */
function onTheme(listener) {
  themeListeners.push(listener);
  listener();
}

function startTheme() {
  const button = document.getElementById("theme");
  const name = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    themeListeners.forEach((listener) => listener());
  });
  prefersDark.addEventListener("change", () => themeListeners.forEach((listener) => listener()));
  onTheme(name);
}

/** A color of the style sheet in the theme that is shown, by the name of its variable. */
function themeColor(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
