// The timeline: two canvases that share a range of time. The upper shows how many tasks ran at once, the lower one lane for
// each executor. It draws only the visible part, so 20,000 tasks cost a few milliseconds.

const GUTTER = 170; // pixels left of time 0, for hosts
const AXIS = 22;
const HAIR = 0.6; // bars are at least this wide
const COLOURS = ["ink", "soft", "line", "lane", "compile", "link", "archive", "other", "failed", "wasted", "here", "executors", "tokens", "waiting", "chain", "pick", "select"];
const KINDS = new Map(Object.entries({ compile: "compile", assemble: "compile", pch: "compile", preprocess: "compile", dependencies: "compile", link: "link", archive: "archive" }));

class Timeline {
  /** `events` has onHover(run, event), onPick(run) and onRange(from, to). */
  constructor(report, chart, lanes, scroller, space, events) {
    Object.assign(this, { report, chart, lanes, scroller, space, events });
    this.end = Math.max(report.end_s, 1e-3);
    [this.from, this.to] = [0, this.end];
    this.picked = -1; // a task
    this.matches = null; // Uint8Array: dim the tasks that have 0
    this.showChain = true;
    this.drag = null;
    const many = report.laneCount;
    this.height = many <= 40 ? 17 : many <= 150 ? 11 : 7;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    new ResizeObserver(() => this.resize()).observe(scroller);
    this.#listen();
    this.restyle();
    this.resize();
  }

  restyle() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.kindColours = this.report.tasks.kind.map((kind) => this.colours[KINDS.get(this.report.texts[kind]) ?? "other"]);
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const pen = tile.getContext("2d");
    pen.strokeStyle = this.colours.wasted;
    pen.lineWidth = 2;
    for (const x of [-6, 0, 6]) {
      pen.moveTo(x, 6);
      pen.lineTo(x + 6, 0);
    }
    pen.stroke();
    this.hatch = pen.createPattern(tile, "repeat");
    this.redraw();
  }

  resize() {
    const width = this.scroller.clientWidth;
    const content = this.report.laneCount * this.height + 6;
    const visibleHeight = Math.max(40, Math.min(content, Math.floor(innerHeight * 0.7)));
    for (const [canvas, height] of [[this.chart, 150], [this.lanes, visibleHeight]]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
      canvas.style.height = `${height}px`;
    }
    this.space.style.height = `${Math.max(0, content - visibleHeight)}px`;
    [this.width, this.chartHeight, this.lanesHeight] = [width, 150, visibleHeight];
    this.redraw();
  }

  // Range of time

  x(time) {
    return GUTTER + ((time - this.from) / (this.to - this.from)) * (this.width - GUTTER);
  }

  time(x) {
    return this.from + ((x - GUTTER) / (this.width - GUTTER)) * (this.to - this.from);
  }

  show(from, to) {
    const span = Math.min(this.end, Math.max(to - from, Math.min(0.002, this.end)));
    this.from = Math.max(0, Math.min(from, this.end - span));
    this.to = this.from + span;
    this.events.onRange(this.from, this.to);
    this.redraw();
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) / factor, around + (this.to - around) / factor);
  }

  pan(share) {
    const shift = share * (this.to - this.from);
    this.show(this.from + shift, this.to + shift);
  }

  whole() {
    this.show(0, this.end);
  }

  /** Bring a run into view: keep the range if the run is in it, else centre the run in ten times its length. */
  reveal(run) {
    const { begin, end, lane } = this.report.runs;
    const length = Math.max(end[run] - begin[run], 0.001);
    if (begin[run] < this.from || end[run] > this.to || this.x(end[run]) - this.x(begin[run]) < 4)
      this.show(begin[run] - length * 4.5, end[run] + length * 4.5);
    const y = lane[run] * this.height;
    if (y < this.scroller.scrollTop || y + this.height > this.scroller.scrollTop + this.lanesHeight)
      this.scroller.scrollTop = y - this.lanesHeight / 2;
    this.redraw();
  }

  // Drawing, once a frame at most

  redraw() {
    if (this.waiting || this.width === undefined) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#drawChart();
      this.#drawLanes();
      this.drawn = (this.drawn ?? 0) + 1;
    });
  }

  #pen(canvas, height) {
    const pen = canvas.getContext("2d");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, this.width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return pen;
  }

  #drawChart() {
    const { report, width } = this;
    const height = this.chartHeight;
    const pen = this.#pen(this.chart, height);
    const samples = report.samples;
    let top = Math.max(1, report.depthRemote.peak + report.depthHere.peak);
    for (const key of ["executors", "tokens", "waiting"]) for (const value of samples[key]) top = Math.max(top, value);
    const y = (value) => height - AXIS - (value / top) * (height - AXIS - 12);
    pen.fillStyle = this.colours.soft;
    pen.textAlign = "right";
    pen.strokeStyle = this.colours.line;
    for (const value of new Set([0, Math.round(top / 2), top])) {
      pen.fillText(count(value), GUTTER - 8, y(value));
      pen.beginPath();
      pen.moveTo(GUTTER, Math.round(y(value)) + 0.5);
      pen.lineTo(width, Math.round(y(value)) + 0.5);
      pen.stroke();
    }
    pen.textAlign = "left";
    pen.fillText("tasks at once", 4, y(top));
    for (let x = GUTTER; x < width; x++) {
      const [from, to] = [this.time(x), this.time(x + 1)];
      const remote = report.depthRemote.average(from, to);
      const here = report.depthHere.average(from, to);
      pen.fillStyle = this.colours.compile;
      pen.fillRect(x, y(remote), 1, y(0) - y(remote));
      pen.fillStyle = this.colours.here;
      pen.fillRect(x, y(remote + here), 1, y(remote) - y(remote + here));
    }
    for (const [key, dash] of [["waiting", [2, 2]], ["tokens", [6, 3]], ["executors", []]]) {
      pen.strokeStyle = this.colours[key];
      pen.lineWidth = 1.5;
      pen.setLineDash(dash);
      pen.beginPath();
      let before = null; // a value of null: there was no jobserver
      samples.t.forEach((time, i) => {
        const x = Math.max(GUTTER, Math.min(this.x(time), width));
        const value = samples[key][i];
        if (before !== null) pen.lineTo(x, y(before));
        if (value !== null) pen[before === null ? "moveTo" : "lineTo"](x, y(value));
        before = value;
      });
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.lineWidth = 1;
    this.#drawAxis(pen, height - AXIS);
    this.#drawSelection(pen, height - AXIS);
  }

  #drawAxis(pen, top) {
    const span = this.to - this.from;
    const least = (span * 90) / (this.width - GUTTER); // a tick needs 90 pixels
    const steps = [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
    const step = steps.find((value) => value >= least) ?? 7200 * Math.ceil(least / 7200);
    pen.fillStyle = this.colours.soft;
    pen.strokeStyle = this.colours.line;
    pen.textAlign = "center";
    for (let i = Math.ceil(this.from / step); i * step <= this.to; i++) {
      const x = this.x(i * step);
      pen.beginPath();
      pen.moveTo(x, top);
      pen.lineTo(x, top + 5);
      pen.stroke();
      if (x < this.width - 20) pen.fillText(this.#tick(i * step, step), x, top + 13);
    }
  }

  #tick(time, step) {
    if (step < 1) return `${time.toFixed(step < 0.01 ? 3 : step < 0.1 ? 2 : 1)} s`;
    if (time < 60) return `${Math.round(time)} s`;
    return `${Math.floor(time / 60)}:${String(Math.round(time) % 60).padStart(2, "0")}`;
  }

  #drawSelection(pen, height) {
    if (!this.drag?.selects) return;
    pen.fillStyle = this.colours.select;
    pen.fillRect(Math.min(this.drag.x, this.drag.now), 0, Math.abs(this.drag.now - this.drag.x), height);
  }

  #drawLanes() {
    const { report, width, height } = this;
    const pen = this.#pen(this.lanes, this.lanesHeight);
    const scrolled = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(scrolled / height));
    const last = Math.min(report.laneCount, Math.ceil((scrolled + this.lanesHeight) / height));
    let labelled = -Infinity;
    for (let lane = first; lane < last; lane++) {
      const y = lane * height - scrolled;
      const isFirst = lane === 0 || report.lanes.host[lane] !== report.lanes.host[lane - 1] || lane === report.here_lanes;
      if (isFirst && lane > first) {
        pen.fillStyle = this.colours.line;
        pen.fillRect(0, y - 0.5, width, 1);
      }
      if ((isFirst || lane === first) && y - labelled >= 13) {
        labelled = y;
        pen.fillStyle = this.colours.ink;
        pen.textAlign = "left";
        this.#label(pen, report.text(report.lanes.host[lane]) + (lane < report.here_lanes ? " (submit host)" : ""), y + Math.max(height / 2, 7));
      }
      const [joined, left] = report.lanes.presence[lane];
      const [x0, x1] = [Math.max(this.x(joined), GUTTER), Math.min(this.x(left ?? this.end), width)];
      pen.fillStyle = this.colours.lane;
      if (x1 > x0) pen.fillRect(x0, y, x1 - x0, height - 1);
      this.#drawRuns(pen, lane, y);
    }
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, 0, width, this.lanesHeight);
    pen.clip();
    this.#drawOutlines(pen, scrolled, first, last);
    pen.restore();
    this.#drawSelection(pen, this.lanesHeight);
  }

  #label(pen, text, y) {
    let shown = text;
    while (shown.length > 4 && pen.measureText(shown).width > GUTTER - 12) shown = `${shown.slice(0, -3)}…`;
    pen.fillText(shown, 4, y);
  }

  #drawRuns(pen, lane, y) {
    const { report } = this;
    const { begin, end, task, state } = report.runs;
    const stop = report.laneStart[lane + 1];
    const failed = this.colours.failed;
    let painted = -Infinity;
    for (let run = report.laneStart[lane]; run < stop && begin[run] < this.to; run++) {
      if (end[run] < this.from) continue;
      const x0 = Math.max(GUTTER, this.x(begin[run]));
      const x1 = Math.min(this.width, Math.max(this.x(end[run]), x0 + HAIR));
      // Bars below half a pixel would overpaint each other thousands of times; a failure must stay visible.
      if (x1 - painted < 0.5 && state[run] !== 1) continue;
      painted = x1;
      pen.globalAlpha = this.matches && !this.matches[task[run]] ? 0.15 : 1;
      pen.fillStyle = state[run] === 1 ? failed : state[run] === 2 ? this.hatch : this.kindColours[task[run]];
      pen.fillRect(x0, y, Math.max(HAIR, x1 - x0 - (x1 - x0 > 3 ? 0.7 : 0)), this.height - 1);
      if (this.height >= 11 && x1 - x0 > 60 && state[run] !== 2) this.#name(pen, task[run], x0, x1, y);
    }
    pen.globalAlpha = 1;
  }

  #name(pen, task, x0, x1, y) {
    const name = this.report.targetOf(task).split("/").pop();
    if (name.length * 6 > x1 - x0 - 6) return;
    pen.fillStyle = "#fff";
    pen.font = `${this.height - 6}px system-ui, sans-serif`;
    pen.textAlign = "left";
    pen.fillText(name, x0 + 3, y + this.height / 2);
    pen.font = "12px system-ui, sans-serif";
  }

  #drawOutlines(pen, scrolled, first, last) {
    const { runs } = this.report;
    const outline = (task, width, colour) => {
      for (const run of this.report.runsOf(task)) {
        if (runs.lane[run] < first || runs.lane[run] >= last || runs.end[run] < this.from || runs.begin[run] > this.to) continue;
        const x = this.x(runs.begin[run]);
        pen.lineWidth = width;
        pen.strokeStyle = colour;
        pen.strokeRect(x, runs.lane[run] * this.height - scrolled + 0.5, Math.max(2, this.x(runs.end[run]) - x), this.height - 2);
      }
    };
    if (this.showChain) for (const task of this.report.chain) outline(task, 1.5, this.colours.chain);
    if (this.picked >= 0) outline(this.picked, 3, this.colours.pick);
    pen.lineWidth = 1;
  }

  // Pointer, wheel and keys

  /** The run below a point of the lanes' canvas, or -1. A bar may be missed by three pixels. */
  runAt(x, y) {
    const lane = Math.floor((y + this.scroller.scrollTop) / this.height);
    if (x < GUTTER || lane < 0 || lane >= this.report.laneCount) return -1;
    const { begin, end } = this.report.runs;
    const [start, stop] = [this.report.laneStart[lane], this.report.laneStart[lane + 1]];
    let [best, distance] = [-1, 3];
    const behind = above(begin, this.time(x + 3), start, stop);
    for (let run = behind - 1; run >= Math.max(start, behind - 20); run--) {
      const miss = Math.max(this.x(begin[run]) - x, x - this.x(end[run]), 0);
      if (miss < distance || (miss === 0 && best < 0)) [best, distance] = [run, miss];
      if (miss === 0) break;
    }
    return best;
  }

  #listen() {
    for (const canvas of [this.chart, this.lanes]) {
      canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
      canvas.addEventListener("pointerdown", (event) => this.#press(event, canvas));
      canvas.addEventListener("pointermove", (event) => this.#move(event, canvas));
      canvas.addEventListener("pointerup", (event) => this.#release(event, canvas));
      canvas.addEventListener("pointercancel", () => this.#cancel());
      canvas.addEventListener("pointerleave", () => this.events.onHover(-1));
      canvas.addEventListener("dblclick", () => this.whole());
    }
    this.scroller.addEventListener("scroll", () => this.redraw());
    this.lanes.addEventListener("keydown", (event) => this.#key(event));
  }

  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1; // lines, pages
    if (event.shiftKey) this.scroller.scrollTop += (event.deltaY || event.deltaX) * pixels;
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan((event.deltaX * pixels) / this.width);
    else this.zoom(Math.exp(-event.deltaY * pixels * 0.0025), this.time(Math.max(GUTTER, event.offsetX)));
  }

  #press(event, canvas) {
    if (event.button !== 0 || event.offsetX < GUTTER) return;
    canvas.setPointerCapture(event.pointerId);
    this.drag = { x: event.offsetX, now: event.offsetX, from: this.from, to: this.to, pans: event.shiftKey, selects: false };
  }

  #move(event, canvas) {
    const drag = this.drag;
    if (!drag) {
      this.events.onHover(canvas === this.lanes ? this.runAt(event.offsetX, event.offsetY) : -1, event, canvas === this.chart ? this.time(event.offsetX) : null);
      return;
    }
    drag.now = Math.max(GUTTER, Math.min(event.offsetX, this.width));
    if (drag.pans) {
      const shift = ((drag.x - drag.now) / (this.width - GUTTER)) * (drag.to - drag.from);
      this.show(drag.from + shift, drag.to + shift);
    } else {
      drag.selects ||= Math.abs(drag.now - drag.x) > 5;
      this.redraw();
    }
  }

  #release(event, canvas) {
    const drag = this.drag;
    this.#cancel();
    if (!drag || drag.pans) return;
    if (drag.selects) {
      const [from, to] = [this.time(drag.x), this.time(drag.now)].sort((a, b) => a - b);
      this.show(from, to);
    } else if (canvas === this.lanes) this.events.onPick(this.runAt(event.offsetX, event.offsetY));
  }

  #cancel() {
    this.drag = null;
    this.redraw();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), w: () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5), s: () => this.zoom(1 / 1.5),
      ArrowLeft: () => this.pan(-0.15), a: () => this.pan(-0.15), ArrowRight: () => this.pan(0.15), d: () => this.pan(0.15),
      ArrowUp: () => (this.scroller.scrollTop -= 4 * this.height), ArrowDown: () => (this.scroller.scrollTop += 4 * this.height),
      Home: () => this.whole(), 0: () => this.whole(),
    };
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
