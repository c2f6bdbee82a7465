// The switch between light and dark, the menu of narrow pages, and the search. Everything else works without it.
(function () {
  'use strict';
  var html = document.documentElement;

  function stored() { try { return localStorage.getItem('theme'); } catch (e) { return null; } }
  function store(theme) { try { localStorage.setItem('theme', theme); } catch (e) { /* a file's page may not */ } }
  function isDark() {
    var theme = html.getAttribute('data-theme');
    return theme ? theme === 'dark' : window.matchMedia('(prefers-color-scheme: dark)').matches;
  }
  // Before the page is shown, so that it does not flash.
  var theme = stored();
  if (theme === 'light' || theme === 'dark') html.setAttribute('data-theme', theme);

  document.addEventListener('DOMContentLoaded', function () {
    var root = html.getAttribute('data-root') || '';

    var button = document.getElementById('theme');
    function label() { button.textContent = isDark() ? 'Light' : 'Dark'; }
    button.hidden = false;
    label();
    button.addEventListener('click', function () {
      var next = isDark() ? 'light' : 'dark';
      html.setAttribute('data-theme', next);
      store(next);
      label();
    });

    // Where they stand above the text, they are closed.
    if (window.matchMedia('(max-width: 52rem)').matches) document.querySelector('nav .menu').open = false;
    var contents = document.querySelector('.contents details');
    if (contents && window.matchMedia('(max-width: 79.99rem)').matches) contents.open = false;
    var here = document.querySelector('nav [aria-current]');
    var nav = document.querySelector('nav');
    if (here && here.offsetTop > nav.clientHeight) nav.scrollTop = here.offsetTop - nav.clientHeight / 2;

    var input = document.getElementById('search');
    var results = document.getElementById('results');
    var chosen = -1;

    // [name, kind, address, text] of all entries; loaded when somebody begins to search.
    function load(then) {
      if (window.searchIndex) { then(); return; }
      var script = document.createElement('script');
      script.src = root + 'search-index.js';
      script.onload = then;
      document.head.appendChild(script);
    }

    function score(entry, words, whole) {
      var name = entry[0].toLowerCase(), last = name.split('::').pop();
      var total = 0;
      if (last === whole || name === whole) total += 100;
      else if (last.indexOf(whole) === 0) total += 50;
      for (var i = 0; i < words.length; i++) {
        var at = name.indexOf(words[i]);
        if (at >= 0) total += 20 + (at === 0 ? 5 : 0);
        else if (entry[3].toLowerCase().indexOf(words[i]) >= 0) total += 3;
        else return 0;
      }
      if (entry[1]) total += 5;                      // a name before a page
      return total - Math.min(name.length, 60) / 60; // short names first
    }

    function search() {
      var whole = input.value.trim().toLowerCase();
      chosen = -1;
      results.textContent = '';
      results.hidden = !whole;
      if (!whole) return;
      var words = whole.split(/\s+/), found = [];
      window.searchIndex.forEach(function (entry) {
        var points = score(entry, words, whole);
        if (points > 0) found.push([points, entry]);
      });
      found.sort(function (a, b) { return b[0] - a[0]; });
      found.slice(0, 40).forEach(function (pair) {
        var entry = pair[1], link = document.createElement('a');
        link.href = root + entry[2];
        link.setAttribute('role', 'option');
        var name = document.createElement('b'), text = document.createElement('span');
        name.textContent = entry[0];
        text.textContent = (entry[1] ? entry[1] + ' · ' : '') + entry[3];
        link.appendChild(name);
        link.appendChild(text);
        results.appendChild(link);
      });
      if (!found.length) {
        var none = document.createElement('p');
        none.textContent = 'Nothing has all of these words.';
        results.appendChild(none);
      }
    }

    function choose(n) {
      var links = results.querySelectorAll('a');
      if (!links.length) return;
      if (links[chosen]) links[chosen].removeAttribute('aria-selected');
      chosen = (n + links.length) % links.length;
      links[chosen].setAttribute('aria-selected', 'true');
      links[chosen].scrollIntoView({ block: 'nearest' });
    }

    input.form.addEventListener('submit', function (event) {
      event.preventDefault();
      var links = results.querySelectorAll('a'), to = links[chosen < 0 ? 0 : chosen];
      if (to) { results.hidden = true; location.href = to.href; }
    });
    input.addEventListener('input', function () { load(search); });
    input.addEventListener('focus', function () { load(search); });
    input.addEventListener('keydown', function (event) {
      if (event.key === 'ArrowDown') { choose(chosen + 1); event.preventDefault(); }
      else if (event.key === 'ArrowUp') { choose(chosen - 1); event.preventDefault(); }
      else if (event.key === 'Escape') { results.hidden = true; input.blur(); }
    });
    document.addEventListener('keydown', function (event) {
      var at = document.activeElement;
      if (event.key === '/' && at !== input && !/^(INPUT|TEXTAREA)$/.test(at ? at.tagName : '')) {
        input.focus();
        event.preventDefault();
      }
    });
    document.addEventListener('click', function (event) {
      if (!results.contains(event.target) && event.target !== input) results.hidden = true;
    });
    results.addEventListener('click', function () { results.hidden = true; });
  });
})();
