// The data of the page: unpacking, indexes over typed arrays, and texts for numbers. docs/explanation/report.md describes the data.

/** The object that spraycc/ui/report.py packed: base64 of a zlib stream of JSON. */
async function unpack(text) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser is too old to unpack the data (DecompressionStream is missing). Use a browser of 2023 or later.");
  const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** A name as it can be read: control characters, marks that reorder text and bytes that are no UTF-8 are escaped. */
function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0);
    const byte = code >= 0xdc80 && code <= 0xdcff ? code - 0xdc00 : code; // Python's surrogateescape
    if (byte === 10) return "\\n";
    return byte < 0x100 ? `\\x${byte.toString(16).padStart(2, "0")}` : `\\u{${byte.toString(16)}}`;
  });
}

function duration(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${String(rest).padStart(2, "0")} s`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  for (const unit of ["kB", "MB", "GB"]) {
    if (value < 999.95) return `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

const count = (number) => number.toLocaleString("en-US");

/** Index of the first element of a sorted array, from `low` to `high`, that is greater than `value`. */
function above(sorted, value, low = 0, high = sorted.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** How many intervals are open over time, as a step function with its integral, for exact averages of any range. */
class Depth {
  constructor(begins, ends) {
    const up = Float64Array.from(begins).sort();
    const down = Float64Array.from(ends).sort();
    this.times = new Float64Array(up.length + down.length);
    this.values = new Int32Array(this.times.length);
    this.integral = new Float64Array(this.times.length);
    this.peak = 0;
    let [i, j, value, sum, last] = [0, 0, 0, 0, 0];
    for (let k = 0; k < this.times.length; k++) {
      const rises = i < up.length && up[i] < down[j];
      const time = rises ? up[i++] : down[j++];
      sum += value * (time - last);
      last = time;
      value += rises ? 1 : -1;
      this.peak = Math.max(this.peak, value);
      this.times[k] = time;
      this.values[k] = value;
      this.integral[k] = sum;
    }
  }

  at(time) {
    const k = above(this.times, time) - 1;
    return k < 0 ? 0 : this.values[k];
  }

  total(time) {
    const k = above(this.times, time) - 1;
    return k < 0 ? 0 : this.integral[k] + this.values[k] * (time - this.times[k]);
  }

  average(from, to) {
    return to > from ? (this.total(to) - this.total(from)) / (to - from) : this.at(from);
  }
}

/** All that the page shows, with times in seconds since the build's begin. */
class Report {
  constructor(data) {
    Object.assign(this, data);
    const seconds = (column) => Float64Array.from(column, (value) => value * data.unit_s);
    this.runs = { ...data.runs, begin: seconds(data.runs.begin), end: seconds(data.runs.end) };
    for (const key of ["task", "lane", "state", "outcome", "second"]) this.runs[key] = Int32Array.from(data.runs[key]);
    this.tasks = { ...data.tasks, at: seconds(data.tasks.at), ended: seconds(data.tasks.ended) };
    this.taskCount = this.tasks.target.length;
    // Runs are sorted by lane, then by begin: laneStart[i] to laneStart[i + 1] are the runs of lane i.
    this.laneCount = data.lanes.host.length;
    this.laneStart = this.#starts(this.runs.lane, this.laneCount);
    this.runsOf = this.#byTask();
    const select = (isHere, key) => this.runs[key].filter((_, i) => (this.runs.lane[i] < data.here_lanes) === isHere);
    this.depthRemote = new Depth(select(false, "begin"), select(false, "end"));
    this.depthHere = new Depth(select(true, "begin"), select(true, "end"));
    this.inChain = new Uint8Array(this.taskCount);
    for (const task of data.chain) this.inChain[task] = 1;
  }

  #starts(keys, length) {
    const starts = new Int32Array(length + 1);
    for (const key of keys) starts[key + 1]++;
    for (let i = 0; i < length; i++) starts[i + 1] += starts[i];
    return starts;
  }

  #byTask() {
    const starts = this.#starts(this.runs.task, this.taskCount);
    const next = starts.slice();
    const order = new Int32Array(this.runs.task.length);
    this.runs.task.forEach((task, run) => (order[next[task]++] = run));
    return (task) => [...order.subarray(starts[task], starts[task + 1])].sort((a, b) => this.runs.begin[a] - this.runs.begin[b]);
  }

  text(index) {
    return visible(this.texts[index]);
  }

  targetOf(task) {
    return this.text(this.tasks.target[task]);
  }

  commandOf(task) {
    return visible(this.commands[task]);
  }

  /** Where a lane is: the submit host, or an executor with its host and its batch job. */
  place(lane) {
    const [host, executor, job] = ["host", "executor", "batch_job"].map((key) => this.text(this.lanes[key][lane]));
    if (lane < this.here_lanes) return `${host} (submit host)`;
    return `${host}, executor ${executor}${job && job !== executor ? `, batch job ${job}` : ""}`;
  }

  /** Seconds from a task's arrival to its first run; 0 without a run. */
  queued(task) {
    const [first] = this.runsOf(task);
    return first === undefined ? 0 : Math.max(0, this.runs.begin[first] - this.tasks.at[task]);
  }

  /** The run that gave the task's result: the last that was not thrown away, else the last. */
  lastRun(task) {
    const runs = this.runsOf(task);
    return runs.filter((run) => this.runs.state[run] !== 2).pop() ?? runs.pop();
  }

  /** One bit a task: whether its target or its command has these words, in any order. */
  matching(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    return Uint8Array.from({ length: this.taskCount }, (_, task) => {
      const text = `${this.texts[this.tasks.target[task]]} ${this.commands[task]}`.toLowerCase();
      return wanted.every((word) => text.includes(word)) ? 1 : 0;
    });
  }
}
