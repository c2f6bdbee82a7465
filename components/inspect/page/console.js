'use strict';
// The page of `asyncio console`. It asks the tool for a look twice a second, and shows it. What it
// shows is text of another program, or of a file that anybody may have written: it is checked by
// read() and put into the page as text, never as HTML.

const MOST_TASKS = 5000;
const EVERY = 500; // ms between two looks
const MOST_FILE = 64 * 1024 * 1024;

// ---- reading what comes ---------------------------------------------------------------------

const isObject = (v) => typeof v === 'object' && v !== null && !Array.isArray(v);
const text = (v, most = 5000) => (typeof v === 'string' ? v.slice(0, most) : '');
// None is so large that what is computed of it is no number any more.
const number = (v) => (typeof v === 'number' && Number.isFinite(v) ? Math.min(Math.max(v, -1e15), 1e15) : null);
const count = (v) => Math.max(0, number(v) ?? 0);
const list = (v, most, each) => (Array.isArray(v) ? v.slice(0, most).filter((x) => x !== null).map(each) : []);
const objects = (v, most, each) => list(v, most, (x) => each(isObject(x) ? x : {}));
const texts = (v, most) => list(v, most, (x) => text(x, 300));

const readPlace = (v) => ({ function: text(v.function), file: text(v.file), line: count(v.line), helper: v.helper === true });

function readTask(v) {
  return {
    ...readPlace(v), id: text(v.id, 32), name: text(v.name), state: text(v.state, 16), cancelling: v.cancelling === true,
    waits: text(v.waits), kind: text(v.kind), since: number(v.since), steps: number(v.steps), busy: number(v.busy),
    longest: number(v.longest), awaited_by: texts(v.awaited_by, 8), awaiters: count(v.awaiters),
    stack: objects(v.stack, 1000, readPlace), level: Math.min(count(v.level), 60), count: count(v.count), note: text(v.note, 40),
  };
}

function readLoop(v) {
  const states = isObject(v.states) ? v.states : {};
  return {
    id: text(v.id, 32), number: count(v.number), backend: text(v.backend, 40), thread: count(v.thread), debug: v.debug === true,
    state: text(v.state, 16), since: count(v.since), steps: count(v.steps), iterations: count(v.iterations),
    timers: count(v.timers), next_timer: number(v.next_timer), counting: v.counting === true, exact: v.exact !== false,
    tasks: count(v.tasks), ready: count(v.ready), longest: number(v.longest), late_median: number(v.late_median),
    late: list(v.late, 64, count), runs: isObject(v.runs) ? readTask(v.runs) : null,
    states: ['running', 'ready', 'waiting', 'suspended'].map((name) => [name, count(states[name])]),
    samples: list(v.samples, 500, (s) => (Array.isArray(s) ? s : []).slice(0, 4)).map((s) => [0, 1, 2, 3].map((i) => count(s[i]))),
  };
}

function readLook(v) {
  return {
    at: count(v.at), took: count(v.took), all: count(v.all), found: count(v.found), places: count(v.places),
    groups: objects(v.groups, 500, (g) => ({ ...readPlace(g), count: count(g.count), state: text(g.state, 16), kind: text(g.kind), example: text(g.example) })),
    tasks: Array.isArray(v.tasks) ? objects(v.tasks, MOST_TASKS, readTask) : null,
    tree: objects(v.tree, MOST_TASKS, readTask), treeCut: v.tree_cut === true,
    objectsAll: count(v.objects_all),
    objects: objects(v.objects, 500, (o) => ({
      id: text(o.id, 32), kind: text(o.kind), items: count(o.items), capacity: count(o.capacity), detail: text(o.detail), holder: text(o.holder), waiting: count(o.waiting),
      lines: objects(o.lines, 20, (l) => ({ what: text(l.what), count: count(l.count), some: texts(l.some, 8) })),
    })),
    sockets: Array.isArray(v.sockets)
      ? objects(v.sockets, 1000, (s) => ({
          fd: count(s.fd), kind: text(s.kind), local: text(s.local), peer: text(s.peer), state: text(s.state, 40), in: count(s.in), out: count(s.out),
          tasks: texts(s.tasks, 8),
        }))
      : null,
  };
}

function read(v) {
  if (!isObject(v) || v.asyncio_console !== 1) throw new Error('this is no file of asyncio console');
  const p = isObject(v.process) ? v.process : {};
  return {
    raw: v, at: Math.min(count(v.at), 8e12),
    process: {
      pid: count(p.pid), life: text(p.life, 16), ended: count(p.ended), trouble: text(p.trouble), library: text(p.library, 40),
      exe: text(p.exe), rss: count(p.rss), fds: count(p.fds), threads: count(p.threads),
    },
    loops: objects(v.loops, 200, readLoop),
    stalls: objects(v.stalls, 200, (s) => ({
      ...readPlace(s), loop: count(s.loop), began: count(s.began), lasted: count(s.lasted), over: s.over === true, id: text(s.id, 32), name: text(s.name),
    })),
    warnings: objects(v.warnings, 100, (w) => ({ kind: text(w.kind, 40), text: text(w.text), filter: text(w.filter) })),
    look: isObject(v.look) ? readLook(v.look) : null,
  };
}

// ---- words and numbers ------------------------------------------------------------------------

// What would be invisible, or would reorder the line, is shown by its number.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const visible = (s) => s.replace(UNSEEN, (c) => {
  const n = c.codePointAt(0);
  return n < 256 ? '\\x' + n.toString(16).padStart(2, '0') : '\\u' + n.toString(16).padStart(4, '0');
});
const whole = (n) => Math.round(n).toLocaleString('en');
const many = (n, what) => `${whole(n)} ${what}${n === 1 ? '' : 's'}`;
const percent = (part) => (part * 100).toFixed(1) + ' %';

function seconds(s) {
  if (s === null || s < 0) return '';
  if (s < 0.00095) return (s * 1e6).toFixed(0) + ' µs';
  if (s < 0.0995) return (s * 1e3).toFixed(s < 0.00995 ? 2 : 1) + ' ms';
  if (s < 0.995) return (s * 1e3).toFixed(0) + ' ms';
  if (s < 60) return s.toFixed(1) + ' s';
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

function bytes(n) {
  for (const unit of ['B', 'KB', 'MB', 'GB']) {
    if (n < 1000 || unit === 'GB') return n.toFixed(unit === 'B' || n >= 99.5 ? 0 : 1) + ' ' + unit;
    n /= 1000;
  }
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString('en-GB');
const baseName = (path) => path.slice(path.lastIndexOf('/') + 1);
const where = (p) => (p.file ? `${p.file}:${p.line}` : '');
const shortWhere = (p) => (p.file ? `${baseName(p.file)}:${p.line}` : '');

// ---- the page's elements ----------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function node(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = visible(String(content));
  return element;
}

function set(element, content) {
  const shown = visible(content);
  if (element.textContent !== shown) element.textContent = shown;
}

function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const STATES = new Set(['running', 'ready', 'waiting', 'suspended', 'stuck', 'asleep', 'idle']);
const stateClass = (state) => 'state ' + (STATES.has(state) ? state : '');

// How the cells of a column are made, and what is put into them.
const CELLS = {
  text: { set: (td, v) => set(td, v) },
  place: {
    make: (td) => td.append(node('span', 'fn'), node('span', 'at')),
    set: (td, v) => {
      set(td.children[0], v.function ? v.function + '()' : '?');
      set(td.children[1], shortWhere(v));
      attribute(td, 'title', visible(`${v.function}()\n${where(v)}`));
    },
  },
  group: {
    make: (td) => {
      const button = node('button', 'link');
      button.type = 'button';
      button.append(node('span', 'count'), node('span', 'times', '×'), node('span', 'fn'));
      td.append(button, node('span', 'at'));
    },
    set: (td, v) => {
      set(td.children[0].children[0], whole(v.count));
      set(td.children[0].children[2], v.function ? v.function + '()' : '?');
      set(td.children[1], shortWhere(v));
      attribute(td, 'title', visible(where(v)));
    },
  },
  state: {
    make: (td) => td.append(node('span')),
    set: (td, v) => {
      td.firstChild.className = stateClass(v);
      set(td.firstChild, v);
    },
  },
  open: {
    make: (td) => {
      const button = node('button', 'link');
      button.type = 'button';
      td.append(button, node('span', 'tag'));
    },
    set: (td, v) => {
      set(td.children[0], v.name);
      set(td.children[1], v.tag);
      td.children[1].hidden = v.tag === '';
    },
  },
};

// A table whose rows stay the same elements from look to look, so that the focus and what is
// selected stay, too.
class Table {
  constructor(into, { columns, caption, empty, stack, onOpen, onSort }) {
    this.columns = columns;
    this.empty = empty;
    this.onOpen = onOpen;
    this.rows = new Map();
    const table = node('table', stack ? 'stack' : '');
    // Told again, since a style that makes a row a card takes it away in some browsers.
    table.setAttribute('role', 'table');
    table.append(node('caption', 'sr', caption));
    const head = node('thead');
    head.setAttribute('role', 'rowgroup');
    const row = node('tr');
    row.setAttribute('role', 'row');
    for (const column of columns) {
      const cell = node('th', [column.cls, column.num ? 'num' : ''].filter(Boolean).join(' '), column.sort ? undefined : column.label);
      cell.scope = 'col';
      cell.setAttribute('role', 'columnheader');
      if (column.title) cell.title = column.title;
      if (column.sort) {
        const button = node('button', '', column.label);
        button.type = 'button';
        button.addEventListener('click', () => onSort(column));
        cell.append(button);
      }
      column.cell = cell;
      row.append(cell);
    }
    head.append(row);
    this.body = node('tbody');
    this.body.setAttribute('role', 'rowgroup');
    table.append(head, this.body);
    into.append(table);
  }

  make(key) {
    const row = node('tr', this.onOpen ? 'opens' : '');
    row.setAttribute('role', 'row');
    for (const column of this.columns) {
      const cell = node('td', [column.cls, column.num ? 'num' : ''].filter(Boolean).join(' '));
      cell.setAttribute('role', 'cell');
      cell.dataset.label = column.label;
      CELLS[column.cell_kind ?? 'text'].make?.(cell);
      row.append(cell);
    }
    if (this.onOpen) {
      row.addEventListener('click', () => {
        // Who marks text to copy it does not want to go elsewhere.
        if (String(getSelection()) === '') this.onOpen(this.rows.get(key).item);
      });
    }
    return { row, item: null };
  }

  fill(items, keyOf, cellsOf, each) {
    const before = this.rows;
    this.rows = new Map();
    let place = this.body.firstChild;
    for (const item of items) {
      let key = keyOf(item);
      while (this.rows.has(key)) key += '+';
      const known = before.get(key) ?? this.make(key);
      before.delete(key);
      this.rows.set(key, known);
      known.item = item;
      const cells = cellsOf(item);
      this.columns.forEach((column, i) => {
        const cell = known.row.children[i];
        CELLS[column.cell_kind ?? 'text'].set(cell, cells[i]);
        if (column.optional) cell.classList.toggle('blank', cells[i] === '');
      });
      each?.(known.row, item);
      if (known.row === place) place = place.nextSibling;
      else this.body.insertBefore(known.row, place);
    }
    for (const { row } of before.values()) row.remove();
    if (this.nothing) this.nothing.remove();
    if (items.length !== 0) return;
    const cell = node('td', 'empty', this.empty);
    cell.colSpan = this.columns.length;
    cell.setAttribute('role', 'cell');
    this.nothing = node('tr');
    this.nothing.setAttribute('role', 'row');
    this.nothing.append(cell);
    this.body.append(this.nothing);
  }

  sorted(key, descending) {
    for (const column of this.columns) {
      if (column.key !== key) column.cell.removeAttribute('aria-sort');
      else column.cell.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    }
  }
}

// ---- what is shown, and how -------------------------------------------------------------------

const TABS = [['tasks', 'Tasks'], ['tree', 'Tree'], ['loops', 'Loops'], ['objects', 'Objects'], ['sockets', 'Sockets'], ['stalls', 'Stalls']];
const now = {
  tab: 'tasks', filter: '', sort: 'where', descending: false,
  grouped: true, chosen: false, // whether somebody chose to group
  limit: 500,
  data: null, // the last look
  still: null, // 'frozen' or 'saved': no looks come
  lost: false, // the tool does not answer
  task: null, // the one in the panel: {id, name}
  detail: null, // what is told of it
};

// ---- a saved look is searched here and not by the tool ------------------------------------------

function matches(task, filter) {
  if (filter === '') return true;
  return [task.name, task.waits, task.state, task.function, where(task)].some((s) => s.includes(filter)) ||
    task.stack.some((f) => f.function.includes(filter) || where(f).includes(filter));
}

const SORTS = {
  where: (t) => t.file + ':' + String(t.line).padStart(8, '0'), state: (t) => t.state, waits: (t) => t.waits, name: (t) => t.name,
  since: (t) => t.since ?? -1, steps: (t) => t.steps ?? -1, busy: (t) => t.busy ?? -1, longest: (t) => t.longest ?? -1,
};

function groupsOf(tasks) {
  const groups = new Map();
  for (const task of tasks) {
    const key = [where(task), task.function, task.state, task.kind].join('\0');
    if (!groups.has(key)) groups.set(key, { ...task, count: 0, example: task.name });
    ++groups.get(key).count;
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

function lookOf(data) {
  if (!data.look || !now.still) return data.look;
  const found = (data.look.tasks ?? []).filter((t) => matches(t, now.filter));
  const by = SORTS[now.sort] ?? SORTS.where;
  const sign = now.descending ? -1 : 1;
  const sorted = found.map((task) => [by(task), task]).sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0)).map(([, task]) => task);
  return {
    ...data.look, found: now.filter === '' ? data.look.found : found.length, tasks: sorted.slice(0, now.limit),
    groups: now.filter === '' ? data.look.groups : groupsOf(found),
    tree: data.look.tree.filter((t) => matches(t, now.filter)),
  };
}

// ---- tasks --------------------------------------------------------------------------------------

function sortBy(column) {
  const down = new Set(['since', 'steps', 'busy', 'longest']).has(column.key);
  now.descending = now.sort === column.key ? !now.descending : down;
  now.sort = column.key;
  changed();
}

const taskTable = new Table($('tasks'), {
  caption: 'Tasks', empty: 'No task matches.', onOpen: openTask, onSort: sortBy,
  columns: [
    { key: 'where', label: 'Where', cell_kind: 'place', cls: 'place', sort: true, title: 'The innermost co_await; of a task that runs, where its coroutine is defined' },
    { key: 'state', label: 'State', cell_kind: 'state', cls: 'c-state', sort: true },
    { key: 'waits', label: 'Waits for', cls: 'waits', sort: true },
    { key: 'since', label: 'For', num: true, sort: true, title: 'Since its last step, if it ended while steps were counted' },
    { key: 'steps', label: 'Steps/s', num: true, sort: true },
    { key: 'busy', label: 'Busy', num: true, sort: true, title: 'The part of the time in which its steps ran' },
    { key: 'longest', label: 'Longest', num: true, sort: true, title: 'Its longest step since counting began' },
    { key: 'name', label: 'Task', cell_kind: 'open', cls: 'task', sort: true },
    { key: 'by', label: 'Awaited by', cls: 'by quiet' },
  ],
});

const groupTable = new Table($('groups'), {
  caption: 'Tasks by place', empty: 'No task matches.',
  onOpen: (group) => showOnly(where(group)),
  columns: [
    { key: 'count', label: 'Tasks', cell_kind: 'group', cls: 'place' },
    { key: 'state', label: 'State', cell_kind: 'state', cls: 'c-state' },
    { key: 'kind', label: 'Wait for', cls: 'waits' },
    { key: 'example', label: 'One of them', cls: 'quiet c-example fill' },
  ],
});

function awaiters(task) {
  const more = task.awaiters - task.awaited_by.length;
  return task.awaited_by.join(', ') + (more > 0 ? ` and ${whole(more)} more` : '');
}

function showTasks(look) {
  $('tasks').hidden = now.grouped;
  $('groups').hidden = !now.grouped;
  $('group').checked = now.grouped;
  $('more').hidden = true;
  if (now.grouped) {
    groupTable.fill(look.groups, (g) => [where(g), g.function, g.state, g.kind].join('\n'), (g) => [g, g.state, g.kind, g.example]);
    set($('shown'), `${many(look.found, 'task')} at ${many(look.groups.length, 'place')}`);
    return;
  }
  if (!look.tasks) return; // the look came before the view was changed
  taskTable.sorted(now.sort, now.descending);
  // The loops are known better than the tasks, at which the tool looks less often.
  const stuck = new Set(now.data.loops.filter((l) => l.state === 'stuck' && l.runs).map((l) => l.runs.id + ' ' + l.runs.name));
  taskTable.fill(
    look.tasks, (t) => t.id + ' ' + t.name,
    (t) => [t, stuck.has(t.id + ' ' + t.name) ? 'stuck' : t.state, t.waits, seconds(t.since), t.steps === null ? '' : whole(t.steps), t.busy === null ? '' : percent(t.busy), seconds(t.longest),
      { name: t.name, tag: t.cancelling ? 'being cancelled' : '' }, awaiters(t)],
    (row, t) => row.classList.toggle('selected', now.task?.id === t.id && now.task.name === t.name));
  const some = look.tasks.length < look.found;
  set($('shown'), some ? `${whole(look.tasks.length)} of ${many(look.found, 'task')}` : many(look.found, 'task'));
  $('more').hidden = !some || now.limit >= MOST_TASKS || look.tasks.length < now.limit;
}

// ---- tree ---------------------------------------------------------------------------------------

const treeTable = new Table($('tree'), {
  caption: 'Who awaits whom', empty: 'No task matches.', onOpen: openTask,
  columns: [
    { key: 'name', label: 'Task', cell_kind: 'open', cls: 'branch' },
    { key: 'where', label: 'Where', cell_kind: 'place', cls: 'place' },
    { key: 'state', label: 'State', cell_kind: 'state' },
    { key: 'waits', label: 'Waits for', cls: 'waits fill', optional: true },
  ],
});

function showTree(look) {
  const tag = (t) => (t.count > 1 ? `and ${whole(t.count - 1)} more like it` : t.note);
  treeTable.fill(look.tree, (t) => `${t.id} ${t.level} ${t.note}`, (t) => [{ name: t.name, tag: tag(t) }, t, t.state, t.waits], (row, t) => {
    row.style.setProperty('--level', t.level);
    row.firstChild.classList.toggle('root', t.level === 0);
    row.classList.toggle('selected', now.task?.id === t.id && now.task.name === t.name);
  });
  set($('tree-note'), 'A task stands below the one that awaits it.' + (now.filter ? ` Filtered by “${now.filter}”.` : '') +
    (look.treeCut ? ' Not all of them are shown: filter them in the first view.' : ''));
}

// ---- loops --------------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';
const PLOTTED = 120; // s

function plot(label) {
  const box = node('div', 'plot');
  const head = node('div', 'plot-head');
  const value = node('b');
  const left = node('span');
  const most = node('span');
  left.append(value, label);
  head.append(left, most);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 1000 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  const area = document.createElementNS(SVG, 'polygon');
  const line = document.createElementNS(SVG, 'polyline');
  svg.append(area, line);
  box.append(head, svg);
  return {
    box,
    draw(samples, at, top, shown) {
      const last = samples.length ? samples[samples.length - 1][1] : 0;
      const highest = Math.max(top, 1e-9);
      const points = samples.filter(([t]) => at - t < PLOTTED).map(([t, v]) => [1000 - ((at - t) / PLOTTED) * 1000, 97 - Math.min(v / highest, 1) * 92]);
      const joined = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
      line.setAttribute('points', joined);
      area.setAttribute('points', points.length ? `${points[0][0].toFixed(1)},100 ${joined} ${points[points.length - 1][0].toFixed(1)},100` : '');
      set(value, samples.length ? shown(last) : '–');
      set(most, `0 – ${shown(highest)} · 2 min`);
      attribute(svg, 'aria-label', `${label}: now ${shown(last)}, the scale ends at ${shown(highest)}`);
    },
  };
}

// Place n: less than 2^n ns late. Those below 1 µs are one bar, and those above 17 s.
const FIRST_BAR = 10, LAST_BAR = 34;

function histogram() {
  const box = node('div', 'plot');
  const head = node('div', 'plot-head');
  const value = node('b');
  const left = node('span');
  left.append(value, 'late, half of the timers at most');
  const total = node('span');
  head.append(left, total);
  const bars = node('div', 'bars');
  bars.setAttribute('role', 'img');
  for (let i = FIRST_BAR; i <= LAST_BAR; ++i) bars.append(node('div', i > 27 ? 'late' : ''));
  const scale = node('div', 'scale');
  scale.setAttribute('aria-hidden', 'true');
  for (const label of ['1 µs', '64 µs', '4 ms', '268 ms', '17 s']) scale.append(node('span', '', label));
  box.append(head, bars, scale);
  return {
    box,
    draw(loop) {
      const heights = new Array(LAST_BAR - FIRST_BAR + 1).fill(0);
      loop.late.forEach((n, i) => (heights[Math.min(Math.max(i, FIRST_BAR), LAST_BAR) - FIRST_BAR] += n));
      const highest = Math.max(...heights, 1);
      const all = heights.reduce((a, b) => a + b, 0);
      heights.forEach((n, i) => {
        const bar = bars.children[i];
        // By the root: one that came late among a million is to be seen.
        bar.style.height = n === 0 ? '0' : `max(2px, ${(Math.sqrt(n / highest) * 100).toFixed(1)}%)`;
        attribute(bar, 'title', n === 0 ? '' : `${whole(n)} less than ${seconds(2 ** (i + FIRST_BAR) * 1e-9)} late`);
      });
      set(value, all ? seconds(loop.late_median ?? 0) : '–');
      set(total, many(all, 'timer'));
      const words = heights.map((n, i) => (n ? `${n} less than ${seconds(2 ** (i + FIRST_BAR) * 1e-9)}` : '')).filter(Boolean).join(', ');
      attribute(bars, 'aria-label', `How late timers came: ${words || 'none came'}`);
    },
  };
}

const loopCards = new Map();

function loopCard(loop) {
  const box = node('article', 'loop');
  const head = node('div', 'loop-head');
  const title = node('h2');
  const state = node('span');
  const runs = node('span', 'quiet');
  head.append(title, state, runs);
  const figures = node('dl', 'figures');
  const values = {};
  for (const label of ['Tasks', 'Ready', 'Timers', 'Next timer', 'Steps', 'Iterations', 'Longest step']) {
    const pair = node('div');
    values[label] = node('dd');
    pair.append(node('dt', '', label), values[label]);
    figures.append(pair);
  }
  const plots = node('div', 'plots');
  const steps = plot('steps a second');
  const busy = plot('busy');
  const late = histogram();
  plots.append(steps.box, busy.box, late.box);
  box.append(head, figures, plots);
  const draw = (l, at) => {
    set(title, `Loop ${l.number}`);
    state.className = stateClass(l.state);
    set(state, l.state + (l.state === 'stuck' ? ` for ${seconds(l.since)}` : ''));
    const task = l.runs ? ` · runs ${l.runs.name}${l.runs.function ? ', ' + l.runs.function + '()' : ''}` : '';
    set(runs, `${l.backend} · thread ${l.thread}${l.debug ? ' · debug mode' : ''}${l.exact ? '' : ' · ran while it was read'}${task}`);
    const states = l.states.filter(([, n]) => n > 0).map(([name, n]) => `${whole(n)} ${name}`).join(', ');
    set(values.Tasks, whole(l.tasks) + (states ? ` (${states})` : ''));
    set(values.Ready, whole(l.ready));
    set(values.Timers, whole(l.timers));
    set(values['Next timer'], l.next_timer === null ? 'none' : l.next_timer <= 0 ? 'due' : seconds(l.next_timer));
    set(values.Steps, whole(l.steps));
    set(values.Iterations, whole(l.iterations));
    set(values['Longest step'], l.longest === null ? 'not counted yet' : seconds(l.longest));
    steps.draw(l.samples.map((s) => [s[0], s[1]]), at, Math.max(10, ...l.samples.map((s) => s[1])), whole);
    busy.draw(l.samples.map((s) => [s[0], s[3]]), at, 1, percent);
    late.draw(l);
  };
  return { box, draw };
}

function showLoops(data) {
  const seen = new Set();
  for (const loop of data.loops) {
    const key = `${loop.id} ${loop.number}`;
    seen.add(key);
    if (!loopCards.has(key)) {
      const card = loopCard(loop);
      loopCards.set(key, card);
      $('view-loops').append(card.box);
    }
    loopCards.get(key).draw(loop, data.at);
  }
  for (const [key, card] of loopCards) {
    if (seen.has(key)) continue;
    card.box.remove();
    loopCards.delete(key);
  }
}

// ---- objects, sockets, stalls -------------------------------------------------------------------

const objectTable = new Table($('objects'), {
  caption: 'What tasks wait for', empty: 'No task waits for a lock, queue, event or future.', stack: true,
  onOpen: (o) => showOnly(o.id),
  columns: [
    { key: 'object', label: 'Object', cell_kind: 'open' },
    { key: 'items', label: 'Holds', num: true, optional: true },
    { key: 'waiting', label: 'Waiting', num: true },
    { key: 'holder', label: 'Held by', optional: true },
    { key: 'who', label: 'Who waits', cls: 'waits fill' },
  ],
});

function showObjects(look) {
  const holds = (o) => (o.capacity ? `${whole(o.items)} of ${whole(o.capacity)}` : o.kind === 'Queue' || o.kind === 'Semaphore' ? whole(o.items) : '');
  const line = (l, o) => `${l.what === o.kind ? '' : l.what + ': '}${l.some.join(', ')}${l.count > l.some.length ? ` and ${whole(l.count - l.some.length)} more` : ''}`;
  const full = (o) => o.capacity > 0 && o.items >= o.capacity;
  objectTable.fill(look.objects, (o) => o.id, (o) => [
    { name: o.kind === 'Future' ? o.detail : `${o.kind} ${o.id}`, tag: full(o) ? 'full' : '' }, holds(o), whole(o.waiting), o.holder, o.lines.map((l) => line(l, o)).join('; ')]);
  set($('objects-note'), `${many(look.objectsAll, 'object')} that tasks wait for` +
    (look.objectsAll > look.objects.length ? `, of which ${whole(look.objects.length)} are shown` : '') + '. One that nobody waits for is not known here.');
}

const socketTable = new Table($('sockets'), {
  caption: 'Sockets and other descriptors', empty: 'The process has no descriptors, or they may not be read.', stack: true,
  columns: [
    { key: 'fd', label: 'FD', num: true },
    { key: 'kind', label: 'Kind', cls: 'tight' },
    { key: 'local', label: 'Here', cls: 'mono' },
    { key: 'peer', label: 'Peer', cls: 'mono', optional: true },
    { key: 'state', label: 'State', cls: 'tight', optional: true },
    { key: 'in', label: 'Unread', num: true, optional: true, title: 'Bytes that came and were not read' },
    { key: 'out', label: 'Unsent', num: true, optional: true, title: 'Bytes that the other side has not confirmed' },
    { key: 'tasks', label: 'Waited for by', cls: 'waits fill', optional: true },
  ],
});

function showSockets(look) {
  const data = look.sockets ?? [];
  socketTable.empty = look.sockets === null ? 'Being read …' : 'The process has no descriptors, or they may not be read.';
  socketTable.fill(data, (s) => String(s.fd), (s) => [String(s.fd), s.kind, s.local, s.peer, s.state, s.in ? bytes(s.in) : '', s.out ? bytes(s.out) : '', s.tasks.join(', ')]);
  set($('sockets-note'), look.sockets === null ? '' : `${many(data.length, 'descriptor')}: those that tasks wait for first, then sockets. Streams wait for their transport, not for a descriptor.`);
}

const stallTable = new Table($('stalls'), {
  caption: 'Stalls', empty: 'No step has kept its loop for more than 100 ms.', stack: true, onOpen: openTask,
  columns: [
    { key: 'began', label: 'Began' },
    { key: 'lasted', label: 'Lasted', num: true },
    { key: 'state', label: 'Now', cell_kind: 'state' },
    { key: 'loop', label: 'Loop', num: true },
    { key: 'task', label: 'Task', cell_kind: 'open' },
    { key: 'where', label: 'Where', cell_kind: 'place', cls: 'place fill' },
  ],
});

function showStalls(data) {
  stallTable.fill(data.stalls, (s) => `${s.loop} ${s.began.toFixed(1)} ${s.id}`, (s) =>
    [clock(s.began), seconds(s.lasted), s.over ? 'over' : 'stuck', String(s.loop), { name: s.name || 'a callback', tag: '' }, s]);
}

// ---- one task -----------------------------------------------------------------------------------

const MOST_SEEN = 40, MOST_WATCHED = 5000;
const histories = new Map(); // of tasks, in which states they were seen

function remember(task, at) {
  const key = task.id + ' ' + task.name;
  const history = histories.get(key) ?? [];
  const last = history[history.length - 1];
  if (last && last.state === task.state && last.kind === task.kind) return;
  history.push({ at, state: task.state, kind: task.kind, waits: task.waits });
  if (history.length > MOST_SEEN) history.shift();
  histories.set(key, history);
  if (histories.size > MOST_WATCHED) histories.delete(histories.keys().next().value);
}

function openTask(task) {
  if (!task.id || task.id === '0x0') return;
  if ($('panel').hidden) now.opener = document.activeElement;
  now.task = { id: task.id, name: task.name };
  now.detail = null;
  if (now.still) {
    const saved = now.data?.look?.tasks?.find((t) => t.id === task.id && t.name === task.name);
    now.detail = { task: saved ?? readTask(task), awaitedBy: [], awaits: [] };
  }
  showPanel();
  if (!now.still) askForTask();
  render();
  $('panel').focus();
}

function closePanel() {
  now.task = now.detail = null;
  $('panel').hidden = true;
  now.opener?.isConnected && now.opener.focus();
  render();
}

// A table has the beginning of a long name.
const isSameName = (full, shown) => full === shown || (shown.endsWith('...') && full.startsWith(shown.slice(0, -3)));

async function askForTask() {
  const asked = now.task;
  if (!asked) return;
  try {
    const answer = await ask('task', { id: asked.id });
    if (now.task !== asked) return;
    if (answer.found !== true || !isSameName(text(answer.name), asked.name)) {
      now.detail = { gone: true, task: now.detail?.task, awaitedBy: [], awaits: [] };
    } else {
      const counted = (v) => (isObject(v) ? { steps: count(v.steps), busy: count(v.busy), longest: count(v.longest), seconds: count(v.seconds) } : null);
      now.detail = {
        task: readTask(answer), loop: count(answer.loop), awaitedBy: objects(answer.awaited_by, 200, readTask), awaits: objects(answer.awaits, 200, readTask),
        counts: counted(answer.counts), lately: counted(answer.lately),
      };
      remember(now.detail.task, count(answer.at));
    }
    showPanel();
  } catch {
    // The next look says so.
  }
}

function section(title, tag, className, entries) {
  if (entries.length === 0) return [];
  const all = node(tag, className);
  all.append(...entries);
  return [node('h3', '', title), all];
}

const frame = (f) => {
  const item = node('li', 'mono' + (f.helper ? ' helper' : ''));
  item.append(node('span', 'fn', f.function ? f.function + '()' : '?'), node('span', 'at', where(f)));
  return item;
};

const other = (t) => {
  const item = node('li');
  const button = node('button', 'link', t.name);
  button.type = 'button';
  button.addEventListener('click', () => openTask(t));
  item.append(button, node('span', 'at mono', `${t.function}() ${shortWhere(t)}`));
  return item;
};

let shownDetail = '';

function showPanel() {
  $('panel').hidden = false;
  set($('panel-name'), now.task.name);
  const detail = now.detail;
  const history = histories.get(now.task.id + ' ' + now.task.name) ?? [];
  // Not made anew while nothing changes: somebody may be marking text in it.
  const state = JSON.stringify([now.task, detail, history]);
  if (state === shownDetail) return;
  shownDetail = state;
  const body = $('panel-body');
  const task = detail?.task;
  const focused = body.contains(document.activeElement) ? [...body.querySelectorAll('button')].indexOf(document.activeElement) : -1;
  body.replaceChildren();
  if (!detail) return body.append(node('p', 'quiet', 'Being read …'));
  if (detail.gone) body.append(node('p', 'quiet', 'This task has ended. What follows is how it was seen last.'));
  if (!task) return undefined;
  const head = node('p');
  head.append(node('span', stateClass(task.state), task.state));
  if (task.waits) head.append(node('span', 'quiet', ' · waits for '), node('span', '', task.waits));
  if (task.cancelling) head.append(node('span', 'tag', 'being cancelled'));
  body.append(head);
  const numbers = [];
  const add = (label, value) => value !== '' && numbers.push(node('dt', '', label), node('dd', '', value));
  add('Since its last step', seconds(task.since));
  const counts = detail.counts ?? (task.longest === null ? null : task);
  if (detail.lately) {
    add('Busy lately', percent(detail.lately.busy / Math.max(detail.lately.seconds, 1e-6)));
    add('Steps a second lately', whole(detail.lately.steps / Math.max(detail.lately.seconds, 1e-6)));
  }
  if (detail.counts) {
    add('Steps since counting began', whole(detail.counts.steps));
    add('Busy since then', seconds(detail.counts.busy));
    if (detail.counts.steps) add('A step on the average', seconds(detail.counts.busy / detail.counts.steps));
  }
  if (counts) add('Longest step', seconds(counts.longest));
  add('Id', task.id);
  body.append(
    ...section('Stack, most recent call last', 'ol', 'frames', task.stack.map(frame)),
    ...section('Numbers', 'dl', 'numbers', numbers),
    ...section('Awaited by', 'ul', '', detail.awaitedBy.map(other)),
    ...section('Awaits', 'ul', '', detail.awaits.map(other)),
    ...section('Seen so far', 'ol', 'seen', history.slice().reverse().map((h) => {
      const item = node('li');
      item.append(node('time', '', clock(h.at)), node('span', stateClass(h.state), h.state), node('span', 'waits', h.kind));
      return item;
    })));
  if (focused >= 0) body.querySelectorAll('button')[focused]?.focus();
  return undefined;
}

// ---- everything ---------------------------------------------------------------------------------

function showHead(data) {
  const p = data.process;
  set($('exe'), p.exe ? baseName(p.exe) : `process ${p.pid}`);
  attribute($('exe'), 'title', visible(p.exe));
  document.title = `${baseName(visible(p.exe)) || p.pid} – asyncio console`;
  const facts = [`pid ${p.pid}`];
  if (p.library) facts.push(`libasyncio ${p.library}`, bytes(p.rss), many(p.threads, 'thread'), many(p.fds, 'descriptor'));
  if (data.look) facts.push(many(data.look.all, 'task'));
  if ($('facts').childElementCount !== facts.length) $('facts').replaceChildren(...facts.map(() => node('span')));
  facts.forEach((fact, i) => set($('facts').children[i], fact));
  const [kind, word] = statusOf(data);
  if ($('status').className !== 'pill ' + kind) $('status').className = 'pill ' + kind;
  set($('status'), word);
}

function statusOf(data) {
  const p = data.process;
  if (now.still === 'saved') return ['still', `saved ${new Date(data.at * 1000).toLocaleString('en-GB')}`];
  if (now.still) return ['still', `frozen at ${clock(data.at)}`];
  if (now.lost) return ['bad', 'the tool does not answer'];
  if (p.life === 'ended') return ['bad', `the process ended at ${clock(p.ended)}`];
  if (p.life === 'replaced') return ['bad', `the process became another program at ${clock(p.ended)}`];
  if (p.trouble) return ['bad', p.trouble];
  if (p.life === 'stopped') return ['bad', 'the process is stopped by a signal'];
  if (!data.look) return ['', 'reading its tasks …'];
  const age = data.at - data.look.at;
  return ['live', age > 2 ? `live, tasks of ${seconds(age)} ago` : 'live'];
}

function showWarnings(data) {
  const list = $('warnings');
  // Kept while they stay the same, so that a button can be pressed.
  data.warnings.forEach((w, i) => {
    let item = list.children[i];
    if (!item) {
      item = node('li');
      const button = node('button', '', 'Show');
      button.type = 'button';
      button.addEventListener('click', () => showOnly(item.dataset.filter));
      item.append(node('span'), button);
      list.append(item);
    }
    item.className = w.kind === 'stuck' ? 'stuck' : '';
    set(item.children[0], w.text);
    item.dataset.filter = w.filter;
    item.children[1].hidden = w.filter === '';
  });
  while (list.childElementCount > data.warnings.length) list.lastChild.remove();
}

function render() {
  const data = now.data;
  if (!data) return;
  showHead(data);
  showWarnings(data);
  const look = lookOf(data);
  const stuck = data.loops.filter((l) => l.state === 'stuck').length;
  tabCount('tasks', look ? whole(look.all) : '');
  tabCount('loops', stuck ? many(stuck, 'stuck').replace('stucks', 'stuck') : whole(data.loops.length), stuck > 0);
  tabCount('stalls', data.stalls.length ? whole(data.stalls.length) : '', data.stalls.some((s) => !s.over));
  if (now.tab === 'loops') showLoops(data);
  if (now.tab === 'stalls') showStalls(data);
  if (!look) return;
  if (now.tab === 'tasks') showTasks(look);
  if (now.tab === 'tree') showTree(look);
  if (now.tab === 'objects') showObjects(look);
  if (now.tab === 'sockets') showSockets(look);
}

// ---- asking the tool ----------------------------------------------------------------------------

async function ask(path, parameters) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { cache: 'no-store', signal: AbortSignal.timeout(60000) });
  if (!answer.ok) throw new Error(`the tool answers ${answer.status}`);
  return answer.json();
}

const question = (view, limit) => ({
  view, filter: now.filter, sort: now.sort, desc: now.descending ? '1' : '0', group: now.grouped ? '1' : '0', limit: String(limit),
});

let timer = 0;
let asking = 0;

async function poll() {
  clearTimeout(timer);
  if (now.still || document.hidden) return;
  const mine = ++asking;
  const began = performance.now();
  try {
    const data = read(await ask('data', question(now.tab, now.limit)));
    if (mine !== asking || now.still) return;
    now.data = data;
    now.lost = false;
    if (data.look && !now.chosen) {
      now.chosen = true;
      now.grouped = data.look.all > 2000;
      if (!now.grouped && now.tab === 'tasks') return poll();
    }
    for (const task of data.look?.tasks ?? []) remember(task, data.look.at);
  } catch (error) {
    if (mine !== asking || now.still) return;
    now.lost = true;
  }
  render();
  if (now.task && !now.lost) askForTask();
  const took = performance.now() - began;
  timer = setTimeout(poll, now.lost ? 2000 : now.data?.look ? Math.max(EVERY - took, 2 * took) : 200);
}

// What the reader asked for has changed.
function changed() {
  if (now.still) render();
  else poll();
}

function showOnly(filter) {
  now.filter = filter;
  now.grouped = false;
  now.chosen = true;
  $('filter').value = filter;
  showTab('tasks');
}

// ---- tabs ---------------------------------------------------------------------------------------

function tabCount(name, shown, bad = false) {
  const element = $('tab-' + name).lastChild;
  set(element, shown);
  element.className = bad ? 'bad' : '';
}

function showTab(name) {
  now.tab = name;
  for (const [other] of TABS) {
    const is = other === name;
    $('tab-' + other).setAttribute('aria-selected', String(is));
    $('tab-' + other).tabIndex = is ? 0 : -1;
    $('view-' + other).hidden = !is;
  }
  if (location.hash !== '#' + name) history.replaceState(null, '', '#' + name);
  render();
  changed();
}

for (const [name, label] of TABS) {
  const button = node('button', '', label);
  button.type = 'button';
  button.id = 'tab-' + name;
  button.setAttribute('role', 'tab');
  button.setAttribute('aria-controls', 'view-' + name);
  button.append(node('span'));
  button.addEventListener('click', () => showTab(name));
  $('tabs').append(button);
}
$('tabs').addEventListener('keydown', (event) => {
  const at = TABS.findIndex(([name]) => name === now.tab);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + TABS.length, Home: 0, End: TABS.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const [name] = TABS[to % TABS.length];
  showTab(name);
  $('tab-' + name).focus();
});

// ---- tools --------------------------------------------------------------------------------------

let typing = 0;
$('tools').addEventListener('submit', (event) => event.preventDefault());
$('filter').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    now.filter = $('filter').value;
    now.limit = 500;
    changed();
  }, 150);
});
$('group').addEventListener('change', () => {
  now.grouped = $('group').checked;
  now.chosen = true;
  changed();
});
$('more').addEventListener('click', () => {
  now.limit = Math.min(now.limit * 4, MOST_TASKS);
  changed();
});

function hold(kind, data) {
  now.still = kind;
  now.data = data;
  $('freeze').setAttribute('aria-pressed', String(kind === 'frozen'));
  $('freeze').textContent = kind === 'saved' ? 'Back to live' : 'Freeze';
  render();
}

function goOn() {
  now.still = null;
  $('freeze').setAttribute('aria-pressed', 'false');
  $('freeze').textContent = 'Freeze';
  if (now.task) closePanel();
  poll();
}

// All of it, not filtered, as far as a browser can hold it.
async function whole_look() {
  const parameters = { ...question('all', MOST_TASKS), filter: '', group: '0' };
  let data = read(await ask('data', parameters));
  // Descriptors are read only after somebody has asked for them.
  for (let i = 0; i < 20 && data.look && data.look.sockets === null && data.process.life === 'runs'; ++i) {
    await new Promise((done) => setTimeout(done, 100));
    data = read(await ask('data', parameters));
  }
  return data;
}

function failed(error) {
  $('status').className = 'pill bad';
  set($('status'), String(error.message ?? error));
}

$('freeze').addEventListener('click', async () => {
  if (now.still) return goOn();
  try {
    hold('frozen', await whole_look());
  } catch (error) {
    failed(error);
  }
  return undefined;
});
$('save').addEventListener('click', async () => {
  try {
    const data = now.still ? now.data : await whole_look();
    const url = URL.createObjectURL(new Blob([JSON.stringify(data.raw)], { type: 'application/json' }));
    const link = node('a');
    link.href = url;
    link.download = `asyncio-${data.process.pid}-${new Date(data.at * 1000).toISOString().slice(0, 19).replace(/:/g, '')}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } catch (error) {
    failed(error);
  }
});
$('open').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', async () => {
  const file = $('file').files[0];
  $('file').value = '';
  if (!file) return;
  try {
    if (file.size > MOST_FILE) throw new Error(`${file.name} is larger than ${bytes(MOST_FILE)}`);
    const data = read(JSON.parse(await file.text()));
    if (now.task) closePanel();
    histories.clear();
    now.grouped = (data.look?.all ?? 0) > 2000;
    now.chosen = true;
    hold('saved', data);
  } catch (error) {
    failed(error);
  }
});

$('close').addEventListener('click', closePanel);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !$('panel').hidden) closePanel();
  if (event.key === '/' && !/^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '')) {
    event.preventDefault();
    showTab('tasks');
    $('filter').focus();
  }
});
document.addEventListener('visibilitychange', () => document.hidden || poll());

showTab(TABS.some(([name]) => '#' + name === location.hash) ? location.hash.slice(1) : 'tasks');
