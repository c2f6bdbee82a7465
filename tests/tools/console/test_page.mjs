// The page of `asyncio console` in a browser: what it shows, and that it runs nothing but itself.
//
//     node test_page.mjs TOOL TARGET FOLDER
//
// FOLDER has node_modules/puppeteer-core, and gets the screenshots.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const [tool, target, folder] = process.argv.slice(2);
const many = Number(process.env.ASYNCIO_CONSOLE_TASKS ?? 100_000);

function skip(why) {
  console.log(`skipped: ${why}`);
  process.exit(0);
}

const chromium = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) =>
  (process.env.PATH ?? '').split(':').map((path) => join(path, name))).find((path) => existsSync(path));
if (!chromium) skip('there is no chromium');
let puppeteer;
try {
  puppeteer = createRequire(join(folder, 'here.js'))('puppeteer-core');
} catch (error) {
  skip(`puppeteer-core is not installed in ${folder} (npm install puppeteer-core): ${error.code}`);
}

// Whatever happens, nothing outlives this program.
let profile = '';
const children = new Set();
setTimeout(() => end('not done within 90 s'), 90_000).unref();
function end(why) {
  for (const child of children) child.kill('SIGKILL');
  if (profile) rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  if (why) console.error(why);
  process.exit(why ? 1 : 0);
}

function start(program, args, until) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.add(child);
  child.on('exit', () => children.delete(child));
  return new Promise((done, fail) => {
    let said = '';
    child.on('exit', (status) => fail(new Error(`${program} ${args} ended with ${status}`)));
    child.stdout.on('data', (bytes) => {
      said += bytes;
      const found = until.exec(said);
      if (found) done([child, found[0]]);
    });
  });
}

async function console_of(...args) {
  const [program] = await start(target, args.map(String), /^ready$/m);
  const [console_tool, url] = await start(tool, ['console', String(program.pid)], /http:\S+\//);
  return { program, tool: console_tool, url, stop() { program.kill('SIGKILL'); console_tool.kill('SIGKILL'); } };
}

profile = mkdtempSync(join(folder, 'profile-'));
const browser = await puppeteer.launch({
  executablePath: chromium, headless: true, userDataDir: profile, protocolTimeout: 60_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions', '--disable-background-networking'],
});
children.add(browser.process());

// A page that fails the test if it runs what it should not, or has a fault of its own.
const faults = [];
async function open(url, { width = 1200, height = 760, dark = false, keep = false } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  page.on('dialog', (dialog) => { faults.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error' && !keep) faults.push(message.text()); });
  page.on('request', (request) => {
    if (!/^(http:\/\/127\.0\.0\.1:|data:|blob:)/.test(request.url())) faults.push(`asks for ${request.url()}`);
  });
  await page.setViewport({ width, height, deviceScaleFactor: 1 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  return page;
}

const shows = (page, words, where = 'body') => page.waitForFunction(
  (all, selector) => all.every((word) => [...document.querySelectorAll(selector)].some((e) => !e.closest('[hidden]') && e.innerText.includes(word))),
  { polling: 50 }, [].concat(words), where);
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((e) => e.innerText));
const tab = (page, name) => page.click(`#tab-${name}`);
// Element.click() of the page, since rows move while they are watched.
const press = (page, selector, word) => page.evaluate((s, w) => {
  [...document.querySelectorAll(s)].find((e) => e.innerText.includes(w)).click();
}, selector, word);
async function filter(page, words) {
  await page.$eval('#filter', (input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }, words);
}
async function shoot(page, name) {
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
// Nothing sticks out to the side.
async function fits(page) {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the window');
}

async function part(name, run) {
  const began = Date.now();
  await run();
  assert.deepEqual(faults, [], name);
  console.log(`${name}: ok, ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

const script = '<script>alert(1)</script>';
let saved;

try {
  const plain = await console_of();
  let page = await open(plain.url);

  await part('names, places, and what is waited for', async () => {
    await shows(page, ['another consumer', 'Queue.get of 0x', '(0 of 10, 2 waiting)', 'live'], 'main, #status');
    await shows(page, 'target.cpp:', '#tasks .at');
    assert.ok((await texts(page, '#tasks .fn')).includes('consumer()'));
  });

  await part('a task named <script> is text', async () => {
    await shows(page, script + '\\x1b[31m', '#tasks .task');
    await press(page, '#tasks .task button', script);
    await shows(page, script, '#panel-name');
    await shows(page, ['nap()', 'Stack'], '#panel-body');
    assert.equal(await page.$$eval('script', (all) => all.length), 1);
    await page.keyboard.press('Escape');
    await page.waitForSelector('#panel', { hidden: true });
  });

  await part('a filter, and sorting', async () => {
    await filter(page, 'Queue.get');
    await page.waitForFunction(() => document.querySelectorAll('#tasks tbody tr').length === 2);
    await filter(page, '');
    await page.waitForFunction(() => document.querySelectorAll('#tasks tbody tr').length > 15);
    await press(page, '#tasks th button', 'Task');
    await page.waitForFunction(() => document.querySelector('#tasks th[aria-sort="ascending"]')?.innerText.includes('Task'));
    await page.waitForFunction(() => document.querySelector('#tasks tbody tr .task button').innerText.startsWith('<script>'));
    await page.click('#group');
    await shows(page, '×', '#groups tbody');
    await page.click('#group');
  });

  await part('the other views', async () => {
    await tab(page, 'tree');
    await shows(page, ['inner', 'see above'], '#tree');
    await tab(page, 'objects');
    await shows(page, ['Queue 0x', '0 of 10', 'full'], '#objects');
    await tab(page, 'sockets');
    await shows(page, ['unix', 'receiving'], '#sockets');
    await tab(page, 'loops');
    await shows(page, ['Loop 1', 'epoll', 'steps a second', 'Longest step'], '#view-loops');
    await page.focus('#tab-loops');
    await page.keyboard.press('ArrowLeft');
    await page.waitForSelector('#view-tree', { visible: true });
    await page.keyboard.press('Home');
    await page.waitForSelector('#view-tasks', { visible: true });
  });

  await part('frozen, and saved', async () => {
    const downloads = join(folder, 'saved');
    rmSync(downloads, { recursive: true, force: true });
    mkdirSync(downloads);
    const cdp = await page.createCDPSession();
    await cdp.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
    await page.click('#freeze');
    await shows(page, 'frozen', '#status');
    await page.click('#save');
    for (let i = 0; i < 100 && !readdirSync(downloads).some((name) => name.endsWith('.json')); ++i) {
      await new Promise((done) => setTimeout(done, 50));
    }
    saved = join(downloads, readdirSync(downloads).find((name) => name.endsWith('.json')));
    assert.equal(JSON.parse(readFileSync(saved)).look.tasks.length, JSON.parse(readFileSync(saved)).look.all);
    await page.click('#freeze');
    await shows(page, 'live', '#status');
  });

  await part('a process that ends is shown as it was', async () => {
    plain.program.kill('SIGKILL');
    await shows(page, 'the process ended', '#status');
    await shows(page, 'another consumer', '#tasks');
    plain.tool.kill('SIGKILL');
    await page.close();
    faults.length = 0; // that nobody answers any more is no fault of the page
  });

  const stalling = await console_of('stalls', 1500);
  await part('a stuck loop is named within a second', async () => {
    page = await open(stalling.url);
    await shows(page, ['has been stuck for', 'in a step of stalls, stalls()'], '#warnings');
    const late = await page.evaluate(() => now.data.at - now.data.stalls[0].began);
    assert.ok(late < 1.1, `named after ${late} s`);
    await shows(page, 'stuck', '#tab-loops');
    await shows(page, 'stuck', '#tasks tbody');
    await tab(page, 'stalls');
    await shows(page, ['stalls()', 'over'], '#stalls');
    await shoot(page, 'stalls');
    await page.close();
    stalling.stop();
    faults.length = 0;
  });

  const busy = await console_of('busy', 3);
  await part('light, dark and narrow', async () => {
    page = await open(busy.url);
    await shows(page, ['busy()', '%'], '#tasks tbody');
    await press(page, '#tasks th button', 'Busy');
    await shoot(page, 'light');
    await press(page, '#tasks .task button', 'Task-');
    await shows(page, 'Numbers', '#panel-body');
    await shoot(page, 'light-task');
    await page.keyboard.press('Escape');
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    await shoot(page, 'dark');
    await fits(page);
    for (const name of ['tree', 'loops', 'objects', 'sockets']) {
      await tab(page, name);
      await page.waitForSelector(`#view-${name} ${name === 'loops' ? 'article' : 'tbody tr td:not(.empty)'}`);
      await shoot(page, `dark-${name}`);
    }
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    await page.setViewport({ width: 360, height: 760, deviceScaleFactor: 2, isMobile: true });
    for (const name of ['tasks', 'tree', 'loops', 'objects', 'sockets', 'stalls']) {
      await tab(page, name);
      await new Promise((done) => setTimeout(done, 100));
      await fits(page);
      await shoot(page, `narrow-${name}`);
    }
    await page.close();
    busy.stop();
    faults.length = 0;
  });

  await part(`${many} tasks`, async () => {
    const crowd = await console_of('many', many);
    const began = Date.now();
    page = await open(crowd.url);
    await shows(page, [many.toLocaleString('en').slice(0, -3), '×', 'nap()'], '#groups tbody');
    const painted = Date.now() - began;
    await shows(page, ['tasks at nap()'], '#warnings');
    const { JSHeapUsedSize } = await page.metrics();
    console.log(`  painted after ${painted} ms, ${(JSHeapUsedSize / 1e6).toFixed(1)} MB of heap`);
    assert.ok(JSHeapUsedSize < 64e6);
    assert.ok(painted < 20_000); // unoptimised, on a busy machine
    await filter(page, 'another');
    await page.click('#group');
    await page.waitForFunction(() => document.querySelectorAll('#tasks tbody tr').length === 1);
    await filter(page, '');
    await page.waitForFunction(() => document.querySelectorAll('#tasks tbody tr').length === 500);
    await tab(page, 'tree');
    await shows(page, 'more like it', '#tree');
    await page.close();
    crowd.stop();
    faults.length = 0;
  });

  await part('a saved file, and one by a stranger', async () => {
    const other = await console_of();
    page = await open(other.url);
    await shows(page, 'live', '#status');
    const input = await page.$('#file');
    await input.uploadFile(saved);
    await shows(page, 'saved', '#status');
    await shows(page, ['another consumer', 'holder'], '#tasks');
    await filter(page, 'Queue.get');
    await page.waitForFunction(() => document.querySelectorAll('#tasks tbody tr').length === 2);
    await press(page, '#tasks .task button', 'another consumer');
    await shows(page, 'consumer()', '#panel-body');
    await page.keyboard.press('Escape');
    const bad = '<img src=x onerror=alert(1)>';
    const deep = JSON.parse('['.repeat(3000) + ']'.repeat(3000));
    const task = { id: bad, name: bad, function: bad, file: bad, line: '1', state: 'x" onclick="alert(1)', waits: bad, awaited_by: [bad, 7, null, {}], stack: [bad, { function: bad }], level: 1e9, count: -1 };
    const files = [
      { asyncio_console: 1, process: { exe: bad, pid: bad }, loops: [{ samples: [1, [bad], [1e308, 1e308, 1e308, 1e308]], late: [bad, -1, 1e308], runs: task, states: bad }, null, 7],
        stalls: [{ ...task, began: 1e300 }], warnings: [{ text: bad, kind: bad, filter: bad }],
        look: { all: 1e308, tasks: [task, task, task], tree: [task, task], groups: [{ ...task, count: 'x' }], objects: [{ lines: [{ some: [bad] }] }], sockets: [{ local: bad, tasks: [bad] }] } },
      { asyncio_console: 1, __proto__: null, process: deep, loops: deep, stalls: 'x'.repeat(1e6), look: { tasks: Array(20_000).fill({ name: 'x'.repeat(300) }) } },
    ];
    for (const file of files) {
      writeFileSync(join(folder, 'hostile.json'), JSON.stringify(file));
      await filter(page, '');
      await input.uploadFile(join(folder, 'hostile.json'));
      await page.waitForFunction((n) => now.still === 'saved' && now.data.raw.stalls.length === n, {}, file.stalls.length);
      for (const name of ['tasks', 'tree', 'loops', 'objects', 'sockets', 'stalls']) await tab(page, name);
      await tab(page, 'tasks');
    }
    assert.equal(await page.$$eval('img, iframe, script[src], [onerror], [onclick]', (all) => all.length), 0);
    for (const [name, text] of [['no JSON', '{"asyncio_console":'], ['another', '{"version":1}'], ['a list', '[1]'], ['nothing', '']]) {
      writeFileSync(join(folder, 'hostile.json'), text);
      await page.evaluate(() => { document.getElementById('status').textContent = ''; });
      await input.uploadFile(join(folder, 'hostile.json'));
      await page.waitForFunction(() => document.getElementById('status').className === 'pill bad', {}, name);
    }
    await press(page, '#freeze', 'Back to live');
    await shows(page, 'live', '#status');
    await page.close();
    other.stop();
  });

  await part('a page elsewhere learns nothing', async () => {
    const other = await console_of();
    const strange = new URL(other.url);
    strange.hostname = 'localhost';
    page = await open(strange.href, { keep: true });
    await shows(page, 'live', '#status');
    // Another origin: localhost is not 127.0.0.1.
    const seen = await page.evaluate((url) => fetch(url).then((a) => a.text(), (e) => String(e)), other.url + 'data');
    assert.match(seen, /TypeError/);
    // What is injected nevertheless does not run.
    const ran = await page.evaluate(() => {
      try {
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.ran = true">');
      } catch (error) {
        return String(error);
      }
      return window.ran ?? 'nothing ran';
    });
    assert.match(ran, /TrustedHTML|nothing ran/);
    await page.close();
    other.stop();
    faults.length = 0;
  });
} catch (error) {
  end(`${error.stack ?? error}\nfaults: ${faults.join('; ')}`);
}
await Promise.race([browser.close(), new Promise((done) => setTimeout(done, 5000))]);
end();
