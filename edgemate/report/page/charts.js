// Bokeh's charts: each is drawn when it is first shown, and colored like the page.

const drawn = new Map();
let queue = Promise.resolve();

/** Draw a chart into an element once; resolves to its figure. */
function drawChart(element, item) {
  if (!drawn.has(element)) {
    queue = queue.then(async () => {
      const views = await Bokeh.embed.embed_item(item, element.id);
      const figure = (views.roots ?? views)[0].model;
      onTheme(() => colorFigure(figure));
      return figure;
    });
    drawn.set(element, queue);
  }
  return drawn.get(element);
}

/** Give a figure's text, axes and grid the colors of the theme. */
function colorFigure(figure) {
  const ink = themeColor("ink");
  const faint = themeColor("line");
  for (const model of figure.references()) {
    if (model.type.endsWith("Axis")) {
      const line = { axis_line_color: faint, major_tick_line_color: faint };
      model.setv({ ...line, axis_label_text_color: ink, major_label_text_color: ink });
    } else if (model.type === "Grid") {
      model.setv({ grid_line_color: faint });
    } else if (model.type === "GlyphRenderer" && model.name === "ink") {
      const glyph = model.glyph;
      glyph.setv(glyph.type === "Text" ? { text_color: ink } : { line_color: ink });
    } else if (model.type === "GlyphRenderer" && model.tags.length > 0) {
      const color = themeColor(model.tags[0]);
      const line = { line_color: model.name === "here" ? ink : color };
      const filled = model.glyph.type === "Scatter";
      model.glyph.setv(filled ? { ...line, fill_color: color } : line);
    }
  }
}

/** Move the marker of subject `number` in a trade-off chart to a cost and an accuracy. */
function moveMarker(figure, number, cost, accuracy, unit) {
  for (const model of figure.references()) {
    if (model.name === `here-${number}`) {
      model.data = { x: [cost / unit], y: [accuracy] };
    }
  }
  if (accuracy < figure.y_range.start) {
    figure.y_range.start = accuracy - 0.02 * (figure.y_range.end - accuracy);
  }
}

/** Show the lines of a reliability chart that are called `kind`, and hide the others. */
function showLines(figure, kind) {
  for (const model of figure.references()) {
    if (model.type === "GlyphRenderer" && (model.name === "raw" || model.name === "scaled")) {
      model.visible = model.name === kind;
    }
  }
}
