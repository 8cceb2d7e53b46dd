// The page around the timeline: head, findings, details of a task, and tables. All texts of the build get into the page as
// text nodes, never as HTML.

const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

const STATES = ["", "failed", "thrown away"];

class Page {
  constructor(report) {
    this.report = report;
    this.#head();
    this.timeline = new Timeline(report, $("chart"), $("lanes"), $("scroller"), $("space"), {
      onHover: (run, event, time) => this.#hover(run, event, time),
      onPick: (run) => this.pick(run < 0 ? -1 : report.runs.task[run]),
      onRange: (from, to) => this.#range(from, to),
    });
    this.#range(0, report.end_s);
    this.#findings();
    this.#tools();
    this.#legend();
    for (const table of report.tables) $("tables").append(this.#table(table));
    $("foot").textContent = visible(report.foot);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.pick(-1));
  }

  #head() {
    const { report } = this;
    $("command").textContent = visible(report.command);
    $("about").textContent = `${visible(report.about)} · began ${new Date(report.began * 1000).toLocaleString()}`;
    for (const [value, words] of report.tiles)
      $("tiles").append(element("div", { className: "tile" }, element("b", {}, visible(value)), element("span", {}, visible(words))));
  }

  #findings() {
    for (const { tone, text, range, task } of this.report.findings) {
      const item = element("li", { className: tone }, visible(text));
      if (range) item.append(" ", this.#link("Show it", () => this.#goTo(...range)));
      if (task !== null && task !== undefined) item.append(range ? " · " : " ", this.#link("Show the task", () => this.pick(task, true)));
      $("findings").append(item);
    }
  }

  #link(words, onclick) {
    return element("button", { type: "button", className: "text", onclick }, words);
  }

  #goTo(from, to) {
    const margin = (to - from) * 0.1;
    this.timeline.show(from - margin, to + margin);
    $("timeline").scrollIntoView({ block: "start" });
  }

  #tools() {
    const { timeline, report } = this;
    $("zoom-in").onclick = () => timeline.zoom(1.5);
    $("zoom-out").onclick = () => timeline.zoom(1 / 1.5);
    $("whole").onclick = () => timeline.whole();
    $("chain-on").onclick = () => {
      timeline.showChain = !timeline.showChain;
      $("chain-on").setAttribute("aria-pressed", timeline.showChain);
      timeline.redraw();
    };
    $("find").oninput = () => {
      const words = $("find").value.trim();
      timeline.matches = words ? report.matching(words) : null;
      const found = timeline.matches?.reduce((sum, bit) => sum + bit, 0);
      $("found").textContent = words ? `${count(found)} of ${count(report.taskCount)} tasks` : "";
      timeline.redraw();
    };
    // A browser keeps a field's text when the page is loaded again.
    $("find").oninput();
  }

  #legend() {
    const entries = [
      ["compile", "compile"], ["link", "link"], ["archive", "archive"], ["other", "other commands"], ["failed", "failed"],
      ["wasted", "attempt thrown away"], ["here", "on the submit host (upper plot)"],
      ["executors", "executors", "stroke"], ["tokens", "tokens", "stroke"], ["waiting", "waiting tasks", "stroke"],
    ];
    for (const [name, words, className = ""] of entries) {
      const mark = element("i", { className });
      mark.style.background = `var(--${name})`;
      $("legend").append(element("span", {}, mark, words));
    }
  }

  #range(from, to) {
    $("range").textContent = `${duration(from)} to ${duration(to)} of ${duration(this.report.end_s)}`;
  }

  // A task

  /** What the page knows of a task: pairs of name and value. */
  #facts(task, all) {
    const { report } = this;
    const { tasks, runs } = report;
    const last = report.lastRun(task);
    const facts = [];
    if (last !== undefined) facts.push(["ran on", report.place(runs.lane[last])]);
    facts.push(["waited", duration(report.queued(task))]);
    if (last !== undefined) facts.push(["ran", `${duration(runs.end[last] - runs.begin[last])}, from ${duration(runs.begin[last])} to ${duration(runs.end[last])}`]);
    else facts.push(["ran", "never: the task was cancelled, or the record has no time of it"]);
    if (tasks.cpu_ms[task] >= 0) facts.push(["CPU", duration(tasks.cpu_ms[task] / 1000)]);
    if (tasks.rss_kb[task] > 0) facts.push(["memory", `${size(tasks.rss_kb[task] * 1000)} at most`]);
    if (tasks.bytes[task] > 0) facts.push(["returned", size(tasks.bytes[task])]);
    if (tasks.status[task] !== null && (all || tasks.status[task] !== 0)) facts.push(["exit status", tasks.status[task]]);
    facts.push(["reason", report.text(tasks.reason[task])]);
    const all_runs = report.runsOf(task);
    if (all_runs.length > 1 || all_runs.some((run) => runs.state[run] === 2))
      all_runs.forEach((run, i) => {
        const what = [report.text(runs.outcome[run]), STATES[runs.state[run]], runs.second[run] ? "second attempt beside a slow one" : ""];
        facts.push([`attempt ${i + 1}`, `${report.place(runs.lane[run])}, ${duration(runs.end[run] - runs.begin[run])}: ${what.filter(Boolean).join("; ")}`]);
      });
    if (all) {
      if (tasks.refusals[task] !== null) facts.push(["refused", report.text(tasks.refusals[task])]);
      facts.push(["directory", report.text(tasks.cwd[task])]);
      if (report.inChain[task]) facts.push(["chain", "the end of the build waited for this task"]);
    }
    return facts;
  }

  #list(facts) {
    return element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
  }

  #hover(run, event, time) {
    const { report } = this;
    const tip = $("tip");
    if (run >= 0) {
      const task = report.runs.task[run];
      const command = report.commandOf(task);
      tip.replaceChildren(
        element("div", { className: "target" }, report.targetOf(task)),
        element("div", { className: "command" }, command.length > 300 ? `${command.slice(0, 300)}…` : command),
        this.#list(this.#facts(task, false)),
      );
    } else if (time !== null && time !== undefined && time >= this.timeline.from) {
      const { samples } = report;
      const sample = above(samples.t, time) - 1;
      const facts = [["at", duration(time)], ["on executors", count(report.depthRemote.at(time))], ["on the submit host", count(report.depthHere.at(time))]];
      if (sample >= 0) for (const key of ["waiting", "executors", "tokens"]) if (samples[key][sample] !== null) facts.push([key, count(samples[key][sample])]);
      tip.replaceChildren(this.#list(facts));
    } else {
      tip.hidden = true;
      return;
    }
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? Math.max(4, event.clientY - height - 12) : event.clientY + 18}px`;
  }

  /** Keep the details of a task, or none for -1. */
  pick(task, reveals = false) {
    const { report, timeline } = this;
    timeline.picked = task;
    $("details").hidden = task < 0;
    if (task >= 0) {
      const close = element("button", { type: "button", className: "close", onclick: () => this.pick(-1) }, "Close");
      $("details").replaceChildren(
        element("div", { className: "target" }, report.targetOf(task)),
        this.#list(this.#facts(task, true)),
        element("div", { className: "command" }, report.commandOf(task)),
        close,
      );
      if (reveals) {
        const run = report.lastRun(task);
        if (run !== undefined) timeline.reveal(run);
        $("timeline").scrollIntoView({ block: "start" });
      }
    }
    timeline.redraw();
  }

  // Tables

  #table({ title, note, columns, rows, shown }) {
    const body = element("tbody");
    let sorted = rows;
    let limit = shown;
    const fill = () => {
      body.replaceChildren(...sorted.slice(0, limit).map((row) => element("tr", {}, ...row.map((value, i) => this.#cell(columns[i][1], value)))));
      more.hidden = sorted.length <= limit;
    };
    const more = this.#link(`All ${count(rows.length)} rows`, () => {
      limit = Infinity;
      fill();
    });
    const heads = columns.map(([name, kind], i) => {
      const head = element("th", { className: WORDS.has(kind) ? "words" : "", scope: "col" });
      const press = () => {
        const order = head.getAttribute("aria-sort");
        const down = WORDS.has(kind) ? order === "ascending" : order !== "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sorted = [...rows].sort((a, b) => this.#compare(kind, a[i], b[i]) * (down ? -1 : 1));
        fill();
      };
      head.append(element("button", { type: "button", onclick: press }, name));
      return head;
    });
    fill();
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
    return element("section", {}, element("h2", {}, title), ...(note ? [element("p", { className: "note" }, visible(note))] : []), element("div", { className: "wide" }, table), more);
  }

  #compare(kind, a, b) {
    if (a === null || b === null) return (a === null ? -1 : 0) + (b === null ? 1 : 0);
    if (kind === "task") return this.report.targetOf(a) < this.report.targetOf(b) ? -1 : 1;
    return WORDS.has(kind) ? (a < b ? -1 : a > b ? 1 : 0) : a - b;
  }

  #cell(kind, value) {
    if (kind === "task" && value !== null) return element("td", { className: "words" }, this.#link(this.report.targetOf(value), () => this.pick(value, true)));
    return element("td", { className: WORDS.has(kind) ? "words" : "" }, value === null ? "–" : FORMATS[kind](value));
  }
}

const WORDS = new Set(["text", "task"]);
const signed = (format) => (value) => (value === 0 ? format(0) : (value < 0 ? "−" : "+") + format(Math.abs(value)));
const FORMATS = { text: visible, task: String, count, seconds: duration, bytes: size, number: (value) => value.toFixed(1), percent: (value) => `${Math.round(value)} %`, seconds_change: signed(duration), count_change: signed(count) };

unpack($("data").textContent)
  .then((data) => {
    // The name is for the console: page.timeline.show(10, 20)
    window.page = new Page(new Report(data));
  })
  .catch((error) => {
    $("trouble").textContent = `The report can't be shown: ${error.message}`;
    $("trouble").hidden = false;
    console.error(error);
  });
