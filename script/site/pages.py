"""The pages: what is on them, where they link to. script/docs has the command line."""

import json
import os
import re
from functools import lru_cache
from html import escape, unescape

import highlight
import markdown
import reference

HERE = os.path.dirname(os.path.abspath(__file__))

# In the order in which they are read; what stands in none of the lists is put under "More" by itself.
SECTIONS = (
    ('Begin', ('README', 'docs/tutorial', 'docs/from-python', 'docs/tasks', 'docs/locks', 'docs/traps',
               'docs/differences')),
    ('Network', ('docs/streams', 'docs/servers', 'docs/transports', 'docs/sockets', 'docs/datagrams', 'docs/ssl')),
    ('System', ('docs/subprocess', 'docs/signals', 'docs/pipes', 'docs/files', 'docs/threads')),
    ('Look inside', ('docs/graph', 'docs/debugging', 'docs/performance', 'docs/internals')),
)
# What a reader of the library does not read first.
LAST = ('CONTRIBUTING', 'SECURITY', 'CHANGELOG', 'docs/parity', 'docs/faults', 'bench/README', 'tests/conformance/README',
        'examples/notes/README')
SHORT = {'README': 'libasyncio', 'bench/README': 'Benches', 'tests/conformance/README': 'Conformance',
         'examples/notes/README': 'The notes', 'docs/ssl': 'TLS'}
# The guide of a module whose page has another name.
GUIDES = {'coroutines': 'docs/tutorial', 'runners': 'docs/tutorial',
          'taskgroups': 'docs/tasks', 'timeouts': 'docs/tasks', 'with': 'docs/from-python',
          'queues': 'docs/locks', 'exceptions': 'docs/from-python',
          'generators': 'docs/tasks', 'parallel': 'docs/threads', 'watch': 'docs/files',
          'base_events': 'docs/servers', 'protocols': 'docs/transports', 'stdio': 'docs/pipes', 'log': 'docs/debugging',
          'repr': 'docs/debugging', 'component': 'docs/internals'}
COPIED = ('.svg', '.png')


class Page:
    def __init__(self, out, title, section):
        self.out = out               # its path in the site
        self.title, self.section = title, section
        self.body = ''
        self.contents = []           # (level, anchor, HTML)
        self.sections = []           # for the search: (anchor, heading, text)


class Site:
    def __init__(self, root):
        self.root = root
        self.reference = reference.Reference(root)
        self.pages = {}              # path in the site: Page
        self.files = {}              # path in the site: bytes
        self.of_source = {}          # path in the repository: path in the site
        self.row_ids = {}            # 'SC-01': address
        self.mentions = {}           # 'sleep': [(page, anchor)]
        self.broken = []             # links of the sources to nothing
        self.index = []
        self.exceptions = {name for name, entry in self.reference.names.items()
                           if entry.is_class and entry.module.name == 'exceptions'}
        self._plan()

    # ---- which pages there are

    def _plan(self):
        self.guides = {}             # path in the repository: (title, section)
        found = sorted(self._markdown(), key=lambda path: str(path).removesuffix('.md'))
        components = sorted(self.root.glob('components/*/README.md'))
        decisions = sorted(self.root.glob('docs/decisions/*.md'))
        for path in found:
            source = str(path.relative_to(self.root))
            self.of_source[source] = self._out(source)
            self.guides[source] = title_of(path.read_text())
        self.code_pages = {}
        for path in sorted([*self.root.glob('examples/**/*.[ch]pp'), *self.root.glob('components/*/examples/**/*.[ch]pp')]):
            self.code_pages[str(path.relative_to(self.root))] = path.read_text()
        for name, (place, text) in self.reference.texts.items():
            self.code_pages[place] = text
        for source in self.code_pages:
            self.of_source[source] = source + '.html'
        if (self.root / 'LICENSE').is_file():
            self.of_source['LICENSE'] = 'LICENSE.html'
        # A folder of examples is shown in the list of all of them.
        folders = {os.path.dirname(source) for source in self.code_pages if source.startswith('examples/')}
        self.of_source.update({folder: 'examples/index.html' for folder in folders | {'examples'}})
        for source in self.guides:
            if source.endswith('/README.md'):
                self.of_source[os.path.dirname(source)] = self.of_source[source]
        names = [s.removesuffix('.md') for s in self.guides]
        below = {name: [n for n in names if n.startswith(f'{name}/')] for name in names if name.startswith('docs/')}
        self.nav = []
        placed = set(LAST)
        for title, wanted in (*SECTIONS, ('More', None)):
            if wanted is None:
                wanted = [n for n in names if n not in placed and not n.startswith('docs/decisions/')
                          and not re.fullmatch('components/[^/]+/README', n)]
                wanted += [n for n in LAST if n in names]
            # The pages of a folder follow the page of its name.
            listed = [n for name in wanted if name in names for n in (name, *below.get(name, ()))]
            placed.update(listed)
            self.nav.append((title, [f'{name}.md' for name in dict.fromkeys(listed)]))
        self.nav_components = [str(p.relative_to(self.root)) for p in components]
        self.nav_decisions = [str(p.relative_to(self.root)) for p in decisions]

    def _markdown(self):
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if f != 'build' and not f.startswith('.')]
            yield from (self.root.__class__(folder, name) for name in names if name.endswith('.md'))

    @staticmethod
    def _out(source):
        stem = source.removesuffix('.md')
        return os.path.join(os.path.dirname(stem), 'index.html') if os.path.basename(stem) == 'README' else stem + '.html'

    def title(self, source):
        return SHORT.get(source.removesuffix('.md')) or self.guides[source]

    # ---- making all of it

    def make(self):
        self._row_ids()
        ordered = [s for _, sources in self.nav for s in sources]
        for source in [*ordered, *self.nav_components, *self.nav_decisions]:
            self.add(self._guide(source))
        self._find_mentions()
        for module in self.reference.modules.values():
            self.add(self._module(module))
        self.add(self._reference_index())
        self.add(self._examples_index())
        for source, text in self.code_pages.items():
            self.add(self._code_page(source, text))
        if 'LICENSE' in self.of_source:
            page = Page('LICENSE.html', 'Licence', 'More')
            page.body = f'<h1>Licence</h1><pre class="plain">{escape((self.root / "LICENSE").read_text())}</pre>'
            self.add(page)
        for page in self.pages.values():
            self.files[page.out] = self._html(page).encode()
        for name in ('style.css', 'site.js'):
            with open(os.path.join(HERE, name), 'rb') as file:
                self.files[name] = file.read()
        self.files['search-index.js'] = self._search_index().encode()
        return self.files

    def add(self, page):
        assert page.out not in self.pages, page.out
        self.pages[page.out] = page

    # ---- links

    def relative(self, page_out, target):
        path, mark, anchor = target.partition('#')
        if path == page_out:
            return mark + anchor if mark else os.path.basename(path)
        return way(os.path.dirname(page_out), path) + mark + anchor

    def link_of(self, source, out, target):
        """The address on page `out` of what `source` links to."""
        if re.match(r'[A-Za-z][A-Za-z0-9+.-]*:', target):
            if not re.match(r'(https?|mailto):', target):
                self.broken.append(f'{source}: {target}: links of this kind are not made')
                return '#'
            return target
        path, mark, anchor = target.partition('#')
        if not path:
            return target
        found = os.path.normpath(os.path.join(os.path.dirname(source), path))
        to = self.of_source.get(found)
        if to is None and (self.root / found).is_file() and found.endswith(COPIED):
            to = self.of_source[found] = found
            self.files[found] = (self.root / found).read_bytes()
        if to is None:
            to = self._further(found)
        if to is None:
            self.broken.append(f'{source}: {target} leads nowhere')
            return target
        return self.relative(out, to + mark + anchor)

    def _further(self, found):
        """A page for what is linked and has none: a text, or the list of what is in a folder."""
        place = self.root / found
        if found.startswith('..') or found.split('/')[0] in ('.git', 'build') or not place.exists():
            return None
        if place.is_dir():
            page = Page(f'{found}/index.html', f'{found}/', 'More')
            names = ''.join(f'<li><code>{escape(p.name)}{"/" if p.is_dir() else ""}</code></li>'
                            for p in sorted(place.iterdir()) if not p.name.startswith(('.', '__')))
            page.body = f'<h1 class="path">{escape(found)}/</h1><p>In this folder of the repository:</p><ul>{names}</ul>'
            self.add(page)
            self.of_source[found] = page.out
            return page.out
        try:
            text = place.read_text()
        except UnicodeDecodeError:
            return None
        self.code_pages[found] = text
        self.of_source[found] = f'{found}.html'
        return self.of_source[found]

    def entry_address(self, entry, out):
        return self.relative(out, f'reference/{entry.module.name}.html#{entry.anchor}')

    def name_link(self, out, scope='', only_qualified=False):
        def link(name):
            if name.startswith('asyncio::'):
                found = self.reference.find(name)
                # asyncio::Lock::locked, where only Lock is known.
                return self.entry_address(found, out) if found else None
            if name.startswith('std::') or name == 'asyncio':
                return None
            first = name.split('::')[0]
            if only_qualified and not ('::' in name and first in self.reference.namespaces):
                return None
            found = self.reference.find(name, scope)
            return self.entry_address(found, out) if found else None
        return link

    # ---- guides

    def _guide(self, source):
        out = self.of_source[source]
        text = (self.root / source).read_text()
        section = 'Decisions' if source in self.nav_decisions else 'Components' if source in self.nav_components else 'Guides'
        page = Page(out, self.title(source), section)
        page.source = source
        renderer = GuideRenderer(self, source, out)
        page.body = renderer.render(text)
        page.contents = renderer.headings
        page.sections = [(anchor, heading, ' '.join(text)) for anchor, heading, text in renderer.sections]
        page.renderer = renderer
        return page

    def _row_ids(self):
        for source in ('docs/parity.md', 'docs/faults.md', 'docs/differences.md'):
            if source not in self.guides:
                continue
            for match in re.finditer(r'^\|\s*([A-Z]{1,3}-?\d+[a-z]?)\s*\|', (self.root / source).read_text(), re.M):
                self.row_ids.setdefault(match[1], f'{self.of_source[source]}#{match[1]}')

    def _find_mentions(self):
        """Which sections of the guides speak of a name, in reading order."""
        for _, sources in self.nav:
            for source in [s for s in sources if s.removesuffix('.md') not in LAST]:
                self._mentions_of(self.pages[self.of_source[source]])
        for source in self.nav_components:
            self._mentions_of(self.pages[self.of_source[source]])

    def _mentions_of(self, page):
        for name, anchor in page.renderer.mentioned:
            places = self.mentions.setdefault(name, [])
            if all(at is not page for at, _ in places):
                places.append((page, anchor))

    # ---- reference

    def _module(self, module):
        out = f'reference/{module.name}.html'
        page = Page(out, module.name, 'Modules')
        texts = CommentRenderer(self, out, module)
        namespace = next((e.name.rpartition('.')[0] for e in module.entries if '.' in e.name), '')
        title = f'asyncio::{namespace.replace(".", "::")}' if namespace and all(
            e.name.startswith(namespace + '.') for e in module.entries if e.first.kind != 'macro') else module.name
        body = [f'<h1>{escape(title)}</h1>']
        for name in module.includes:
            place = self.relative(out, self.of_source[self.reference.texts[name][0]])
            body.append(f'<p class="include"><code><a href="{place}">#include &lt;{escape(name)}&gt;</a></code></p>')
            body.append(texts.comment(module.titles[name], namespace))
        if guide := self._guide_of(module):
            body.append(f'<p class="guide">Guide: <a href="{self.relative(out, self.of_source[guide])}">'
                        f'{escape(self.title(guide))}</a></p>')
        rows = ''
        for entry in module.entries:
            if not (entry.first.has_no_name and not entry.comment):
                names = ', '.join(f'<a href="#{escape(entry.anchor)}">{escape(shown(n))}</a>' for n in entry.names)
                rows += f'<tr><td><code>{names}</code></td><td>{texts.inline(reference.summary(entry.comment), "")}</td></tr>\n'
        body.append(f'<div class="table"><table class="summary"><tbody>\n{rows}</tbody></table></div>')
        for entry in module.entries:
            body.append(self._entry(entry, page, texts, 2))
        page.body = '\n'.join(body)
        return page

    def _guide_of(self, module):
        if module.component and f'components/{module.component}/README.md' in self.guides:
            return f'components/{module.component}/README.md'
        for guide in (f'docs/{module.name}.md', GUIDES.get(module.name, '') + '.md'):
            if guide in self.guides:
                return guide
        return None

    def _entry(self, entry, page, texts, level):
        scope = entry.name if entry.is_class else entry.name.rpartition('.')[0]
        name = shown(entry.name, entry.owner)
        out = [f'<section class="entry level{level}" id="{escape(entry.anchor)}">']
        others = [n for n in entry.names[1:]]
        label = escape(name) + ''.join(f', {escape(shown(n, entry.owner))}' for n in others)
        badges = f'<span class="kind">{kind_of(entry)}</span>'
        if entry.is_awaitable:
            badges += '<span class="kind await">awaitable</span>'
        source = self.of_source[entry.first.header]
        line = f'{self.relative(page.out, source)}#L{entry.first.line}'
        out.append(f'<h{level}><span class="name">{label}</span>{badges}'
                   f'<a class="source" href="{escape(line)}" title="{escape(entry.first.header)}:{entry.first.line}">header</a>'
                   f'<a class="anchor" href="#{escape(entry.anchor)}" aria-label="Link to {escape(name)}">#</a></h{level}>')
        for other in others:
            anchor = reference.anchor_of(other)
            if self.reference.names.get(other) is entry:
                out.append(f'<a id="{escape(anchor)}"></a>')
        link = self.name_link(page.out, scope)
        signatures = dict.fromkeys(reference.lay_out(e.signature) for e in entry.entities)
        own = set(n.rpartition('.')[2] for n in entry.names)

        def not_itself(found):
            return None if found in own else link(found)

        lines = ''.join(f'<span class="one">{highlight.highlight(text, "cpp", not_itself)}</span>' for text in signatures)
        out.append(f'<pre class="signature"><code>{lines}</code></pre>')
        out.append(texts.comment(entry.comment, scope))
        if level == 2:
            out.append(self._in_guides(entry, page))
        for base, base_name in entry.inherited:
            out.append(self._inherited(base, base_name, entry, page, texts))
        simple = [e for e in entry.entries if e.first.kind == 'enumerator']
        fields = [e for e in entry.entries if e.first.kind == 'field']
        if simple or (fields and len(fields) == len(entry.entries)):
            out.append(self._rows(entry, page, texts))
        else:
            for member in entry.entries:
                out.append(self._entry(member, page, texts, min(level + 1, 6)))
        out.append('</section>')
        if not entry.first.has_no_name and kind_of(entry) != 'constructor':
            page.contents.append((level, entry.anchor, f'<code>{escape(name)}</code>'))
        kind = 'enumerator' if entry.first.kind == 'enumerator' else kind_of(entry)
        for name in entry.names:
            at = entry.anchor if name == entry.names[0] else reference.anchor_of(name)
            if self.reference.names.get(name) is entry:
                self.index.append((qualified(name, entry), kind, f'{page.out}#{at}',
                                   reference.summary(entry.comment).replace('`', '')))
        return '\n'.join(part for part in out if part)

    def _rows(self, entry, page, texts):
        """Fields and enumerators as a table: they have no more to say than a line."""
        rows = ''
        link = self.name_link(page.out, entry.name)
        for member in entry.entries:
            signatures = '\n'.join(e.signature for e in member.entities)
            anchors = ''
            for name in member.names[1:]:
                anchors += f'<a id="{escape(reference.anchor_of(name))}"></a>'
            own = {n.rpartition('.')[2] for n in member.names}
            code = highlight.highlight(signatures, 'cpp', lambda n, own=own: None if n in own else link(n))
            rows += (f'<tr id="{escape(member.anchor)}"><td>{anchors}<code class="field">{code}</code></td>'
                     f'<td>{texts.comment(member.comment, entry.name)}</td></tr>\n')
            for name in member.names:
                at = member.anchor if name == member.names[0] else reference.anchor_of(name)
                self.index.append((qualified(name, member), kind_of(member), f'{page.out}#{at}',
                                   reference.summary(member.comment).replace('`', '')))
        return f'<div class="table"><table class="fields"><tbody>\n{rows}</tbody></table></div>'

    def _in_guides(self, entry, page):
        places = []
        for name in entry.names:
            places += [p for p in self.mentions.get(name, []) if p not in places]
        if not places:
            return ''
        links = []
        for at, anchor in places[:4]:
            target = at.out + (f'#{anchor}' if anchor else '')
            links.append(f'<a href="{escape(self.relative(page.out, target))}">{escape(at.title)}</a>')
        return f'<p class="guides">In the guides: {", ".join(links)}</p>'

    def _inherited(self, base, base_name, entry, page, texts):
        scope = entry.name.rpartition('.')[0]
        found = self.reference.find(base_name, scope)
        if found is None:
            return ''
        code = highlight.highlight(base, 'cpp', self.name_link(page.out, scope))
        own = {e.name.rpartition('.')[2] for e in entry.entries}
        names = []
        for member in found.entries:
            for name in member.names:
                last = name.rpartition('.')[2]
                if last not in own and last != found.first.name and not member.first.has_no_name:
                    own.add(last)
                    names.append(f'<a href="{escape(self.entry_address(member, page.out))}"><code>{escape(last)}</code></a>')
        listed = f': {", ".join(names)}' if names else ''
        return f'<p class="inherited">Inherits <code>{code}</code>{listed}</p>'

    def _reference_index(self):
        out = 'reference/index.html'
        page = Page(out, 'Reference', 'Modules')
        texts = CommentRenderer(self, out, None)
        rows = ''
        for module in self.reference.modules.values():
            component = f' <span class="kind">component {escape(module.component)}</span>' if module.component else ''
            rows += (f'<tr><td><a href="{module.name}.html"><code>{escape(module.name)}</code></a>{component}</td>'
                     f'<td>{texts.inline(module.summary, "")}</td></tr>\n')
        letters = {}
        for name, entry in self.reference.names.items():
            if entry.owner is None and not entry.first.has_no_name:
                last = name.rpartition('.')[2]
                letters.setdefault(last.strip('_')[0].upper(), []).append((last.lower(), name, entry))
        listed = ''
        for letter in sorted(letters):
            links = ' '.join(f'<a href="{escape(self.entry_address(entry, out))}"><code>{escape(name.replace(".", "::"))}</code></a>'
                             for _, name, entry in sorted(letters[letter], key=lambda x: x[:2]))
            listed += f'<dt>{letter}</dt><dd>{links}</dd>\n'
        page.body = (f'<h1>Reference</h1>\n<p>Every public name, from the comments of the headers. '
                     f'<code>#include &lt;asyncio.hpp&gt;</code> gives all modules; components and '
                     f'<code>asyncio/component/</code> are included by name.</p>\n'
                     f'<h2 id="modules">Modules</h2>\n<div class="table"><table class="summary"><tbody>\n{rows}</tbody></table></div>\n'
                     f'<h2 id="names">Names</h2>\n<dl class="names">\n{listed}</dl>')
        page.contents = [(2, 'modules', 'Modules'), (2, 'names', 'Names')]
        return page

    # ---- sources

    def _examples_index(self):
        page = Page('examples/index.html', 'Examples', 'Examples')
        rows = ''
        for source, text in sorted(self.code_pages.items(), key=lambda page: (page[0].count('/'), page[0])):
            if '/include/' in f'/{source}' or not source.endswith('.cpp'):
                continue
            texts = CommentRenderer(self, page.out, None)
            rows += (f'<tr><td><a href="{self.relative(page.out, self.of_source[source])}"><code>{escape(source.removeprefix("examples/"))}'
                     f'</code></a></td><td>{texts.inline(first_comment(text), "")}</td></tr>\n')
        page.body = ('<h1>Examples</h1>\n<p>Complete programs; <code>cmake --build build/release</code> puts them into '
                     '<code>build/release/bin/examples</code>.</p>\n'
                     f'<div class="table"><table class="summary"><tbody>\n{rows}</tbody></table></div>')
        return page

    def _code_page(self, source, text):
        out = self.of_source[source]
        page = Page(out, source, 'Examples' if 'examples' in source.split('/') else 'Modules')
        page.code = True
        lines = lines_of(highlight.highlight(text, highlight.language_of_file(source), self.name_link(out, only_qualified=True)))
        numbered = ''.join(f'<span id="L{n}"><a class="line" href="#L{n}">{n}</a>{line}</span>\n'
                           for n, line in enumerate(lines, 1))
        page.body = f'<h1 class="path">{escape(source)}</h1>\n<pre class="source"><code>{numbered}</code></pre>'
        page.sections = [('', source, first_comment(text))] if 'examples' in source.split('/') else []
        return page

    # ---- the frame of a page

    def _navigation(self, page):
        def item(to, text, code=False):
            here = ' aria-current="page"' if to == page.out else ''
            text = f'<code>{escape(text)}</code>' if code else escape(text)
            return f'<li><a href="{escape(self.relative(page.out, to) if to != page.out else os.path.basename(to))}"{here}>{text}</a></li>'

        def group(title, items, opened):
            if not items:
                return ''
            state = ' open' if opened else ''
            title = escape(title)
            return f'<details{state}><summary>{title}</summary><ul>{"".join(items)}</ul></details>'

        out = []
        for title, sources in self.nav:
            items = [item(self.of_source[s], self.title(s)) for s in sources]
            if title == 'More' and 'LICENSE' in self.of_source:
                items.append(item('LICENSE.html', 'Licence'))
            out.append(group(title, items, title == 'Begin' or any(self.of_source[s] == page.out for s in sources)
                             or page.section == 'Guides' and title != 'More'))
        modules = [item('reference/index.html', 'All names')]
        modules += [item(f'reference/{m.name}.html', m.name, True) for m in self.reference.modules.values()]
        out.append(group('Modules', modules, page.section == 'Modules'))
        if self.nav_components:
            out.append(group('Components', [item(self.of_source[s], os.path.basename(os.path.dirname(s)), True)
                                            for s in self.nav_components], True))
        out.append(group('Decisions', [item(self.of_source[s], self.title(s)) for s in self.nav_decisions],
                         page.section == 'Decisions'))
        examples = [item('examples/index.html', 'All examples')]
        examples += [item(self.of_source[s], os.path.basename(s), True) for s in self.code_pages
                     if 'examples' in s.split('/') and s.endswith('.cpp') and 'notes' not in s.split('/')]
        out.append(group('Examples', examples, page.section == 'Examples'))
        return '\n'.join(out)

    def _html(self, page):
        root = os.path.relpath('.', os.path.dirname(page.out) or '.')
        root = '' if root == '.' else root + '/'
        contents = [c for c in page.contents if c[0] in (2, 3)]
        aside = ''
        if len(contents) > 1:
            items = ''.join(f'<li class="level{level}"><a href="#{escape(anchor)}">{strip_links(text)}</a></li>'
                            for level, anchor, text in sorted_contents(contents, page))
            aside = f'<aside class="contents"><details open><summary>On this page</summary><ul>{items}</ul></details></aside>'
        title = 'libasyncio' if page.out == 'index.html' else f'{page.title} · libasyncio'
        kind = ' class="wide"' if getattr(page, 'code', False) else ''
        return f'''<!DOCTYPE html>
<html lang="en" data-root="{root}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="stylesheet" href="{root}style.css">
<script src="{root}site.js"></script>
</head>
<body{kind}>
<a class="skip" href="#main">To the text</a>
<header>
<a class="home" href="{root}index.html">libasyncio</a>
<form role="search" action="{root}reference/index.html"><input type="search" id="search" placeholder="Search ( / )" aria-label="Search" autocomplete="off" spellcheck="false"></form>
<button type="button" id="theme" hidden>Dark</button>
<div id="results" role="listbox" aria-label="Results" hidden></div>
</header>
<div class="frame">
<nav aria-label="Pages"><details class="menu" open><summary>Pages</summary>
{self._navigation(page)}
</details></nav>
<main id="main">
{aside}
<article>
{page.body}
</article>
{self._neighbours(page)}
</main>
</div>
</body>
</html>
'''

    def _neighbours(self, page):
        order = [self.of_source[s] for _, sources in self.nav for s in sources]
        for sequence in (order, [f'reference/{n}.html' for n in self.reference.modules],
                         [self.of_source[s] for s in self.nav_decisions]):
            if page.out in sequence:
                i = sequence.index(page.out)
                links = ''
                if i > 0:
                    before = self.pages[sequence[i - 1]]
                    links += f'<a rel="prev" href="{self.relative(page.out, before.out)}">← {escape(before.title)}</a>'
                if i + 1 < len(sequence):
                    after = self.pages[sequence[i + 1]]
                    links += f'<a rel="next" href="{self.relative(page.out, after.out)}">{escape(after.title)} →</a>'
                return f'<footer class="neighbours">{links}</footer>'
        return ''

    def _search_index(self):
        rows = [list(row) for row in self.index]
        for page in self.pages.values():
            for anchor, heading, text in page.sections:
                name = heading if heading == page.title or not anchor else f'{page.title}: {heading}'
                rows.append([name, '', page.out + (f'#{anchor}' if anchor else ''), text[:600]])
        lines = ',\n'.join(json.dumps(row, ensure_ascii=False) for row in rows)
        return f'window.searchIndex = [\n{lines}\n];\n'


class GuideRenderer(markdown.Renderer):
    def __init__(self, site, source, out):
        super().__init__()
        self.site, self.source, self.out = site, source, out
        self.mentioned = []          # (name, anchor of the section)
        component = re.match(r'components/(\w+)/', source)
        name = component[1] if component else os.path.basename(source).removesuffix('.md')
        self.module = site.reference.modules.get(name)
        self.scope = name if name in site.reference.namespaces else ''

    def link(self, target):
        return self.site.link_of(self.source, self.out, target)

    def image(self, text, target):
        return f'<img src="{escape(self.link(target))}" alt="{escape(text)}">'

    def mention(self, entry):
        while entry.owner is not None:
            entry = entry.owner
        self.mentioned.append((entry.name, self.headings[-1][1] if len(self.headings) > 1 else ''))

    def code(self, text):
        shown = f'<code>{escape(text)}</code>'
        match = re.fullmatch(r'((?:asyncio::)?[A-Za-z_]\w*(?:(?:::|\.)[A-Za-z_]\w*)*)(?:<[^>]*>)?(\(.*\))?(?:\{.*\})?', text)
        if not match:
            return shown
        name = match[1]
        if name.startswith('asyncio.'):
            name = name.replace('asyncio.', 'asyncio::', 1)
        entry = None
        if match[2] and self.module and re.fullmatch(r'\w+', name):
            entry = self.site.reference.member(name, self.module)
        entry = entry or self.site.reference.find(name, self.scope)
        if entry is None or not self.speaks_of(name, match[2]):
            return shown
        self.mention(entry)
        return f'<a href="{escape(self.site.entry_address(entry, self.out))}">{shown}</a>'

    def speaks_of(self, name, call):
        """A short lower-case word is a name only where it is called, qualified, or the page's own."""
        return bool(call or '::' in name or '_' in name or not name.islower() or '.' in name
                    or (self.site.reference.names.get(name) and len(name) > 4))

    def fence(self, info, text):
        language = highlight.language_of(info)
        words = info.split()
        linked = self.site.name_link(self.out, only_qualified=True)

        def link(name):
            found = linked(name)
            if found:
                entry = self.site.reference.find(name)
                if entry:
                    self.mention(entry)
            return found

        label = ''
        if words[1:2] == ['output']:
            label = '<figcaption>prints</figcaption>'
        elif words[1:2] == ['refused']:
            label = '<figcaption>does not compile</figcaption>'
        elif any(w.startswith('refused=') for w in words):
            label = '<figcaption>g++ 12 does not compile this</figcaption>'
        block = f'<pre><code>{highlight.highlight(text, language, link)}</code></pre>'
        return f'<figure>{label}{block}</figure>' if label else block


class CommentRenderer:
    """Comments of the headers: text with `code`, names that are known, and labelled parts."""

    def __init__(self, site, out, module):
        self.site, self.out, self.module = site, out, module

    def comment(self, comment, scope):
        body = ''
        for label, blocks in reference.parts(comment):
            inner = ''
            for kind, content in blocks:
                if kind == 'drawn':
                    inner += f'<pre><code>{escape(content)}</code></pre>'
                elif kind == 'list':
                    inner += '<ul>' + ''.join(f'<li>{self.inline(i, scope)}</li>' for i in content) + '</ul>'
                elif label:
                    inner += self.inline(content, scope, label.startswith('Raises'))
                else:
                    inner += f'<p>{self.inline(content, scope)}</p>'
            if label:
                kind = 'raises' if label.startswith('Raises') else 'cancelled'
                inner = f'<p class="part {kind}"><strong>{escape(label)}:</strong> {inner}</p>'
            body += inner
        return body

    def inline(self, text, scope, raises=False):
        out = []
        for i, piece in enumerate(re.split(r'(`+)(.+?)\1', text)):
            if i % 3 == 0:
                out.append(self.words(piece, scope, raises))
            elif i % 3 == 2:
                out.append(self.code(piece, scope))
        return ''.join(out)

    def code(self, text, scope):
        link = self.site.name_link(self.out, scope)
        return f'<code>{highlight.highlight(text, "cpp", link)}</code>'

    WORD = re.compile(r'(?P<id>(?<![\w-])[A-Z]{1,3}-?\d+(?![\w-]))'
                      r'|(?P<name>(?<![\w.:])(?:asyncio::)?[A-Za-z_]\w*(?:::\w+)*(?P<call>\(\))?)')

    def words(self, text, scope, raises):
        out, last = [], 0
        for match in self.WORD.finditer(text):
            address = None
            found = match[0]
            if match['id']:
                if found in self.site.row_ids:
                    address = self.site.relative(self.out, self.site.row_ids[found])
            else:
                name = found.removesuffix('()')
                # A name rather than a word: it is called, qualified, in CapWords or of several words.
                if match['call'] or '::' in name or '_' in name.strip('_') or re.search(r'[a-z][A-Z]|[A-Z]{2}[a-z]', name) or (
                        raises and name in self.site.exceptions):
                    entry = self.site.reference.find(name, scope)
                    if entry:
                        address = self.site.entry_address(entry, self.out)
            if address:
                out.append(escape(text[last:match.start()]))
                css = ' class="row"' if match['id'] else ''
                out.append(f'<a{css} href="{escape(address)}">{escape(found)}</a>')
                last = match.end()
        out.append(escape(text[last:]))
        return ''.join(out)


# ---- small things

@lru_cache(maxsize=None)
def way(folder, path):
    return os.path.relpath(path, folder or '.')


def title_of(text):
    match = re.search(r'^# (.+)$', text, re.M)
    return markdown.plain(match[1]).strip() if match else '?'


def shown(name, owner=None):
    if owner is not None:
        return name.rpartition('.')[2]
    return name.replace('.', '::')


def qualified(name, entry):
    return name if entry.first.kind == 'macro' else 'asyncio::' + name.replace('.', '::')


def kind_of(entry):
    first = entry.first
    if first.kind == 'function' and entry.owner is not None and first.name == entry.owner.first.name:
        return 'constructor'
    return {'enum': 'enum', 'variable': 'constant', 'alias': 'type', 'using': 'type'}.get(first.kind, first.kind)


def strip_links(text):
    return re.sub(r'</?a\b[^>]*>', '', text)


def sorted_contents(contents, page):
    """An entry is noted after its members: in the order of the text instead."""
    at = {match[1]: match.start() for match in re.finditer(r' id="([^"]*)"', page.body)}
    return sorted(contents, key=lambda c: at.get(escape(c[1]), 0))


def first_comment(text):
    lines = []
    for line in text.split('\n'):
        if not line.startswith('//'):
            break
        lines.append(line[2:].strip())
    text = ' '.join(lines).split('  ')[0]
    match = reference.FIRST_SENTENCE.match(text)
    return match[1] if match else text


def lines_of(html):
    """Lines of highlighted text; what is coloured over several lines is closed and opened again."""
    lines, opened = [], []
    for line in html.split('\n'):
        begin = ''.join(opened)
        for tag in re.findall(r'<(?:span|a)\b[^>]*>|</(?:span|a)>', line):
            if tag.startswith('</'):
                opened.pop()
            else:
                opened.append(tag)
        close = ''.join('</span>' if tag.startswith('<span') else '</a>' for tag in reversed(opened))
        lines.append(begin + line + close)
    if lines and not lines[-1]:
        lines.pop()
    return lines


# ---- checks

VOID = frozenset('area base br col embed hr img input link meta source track wbr'.split())


TAG = re.compile(r'<[^>]*>?')
WELL_FORMED = re.compile(r'<(/?)([a-z][a-z0-9]*)((?: [a-z][a-z-]*(?:="[^"<>]*")?)*)>')
ATTRIBUTE = re.compile(r' ([a-z-]+)(?:="([^"]*)")?')


class Checked:
    """What a page refers to, and whether its tags are what we write: in lower case, closed in order, no scripts."""

    def __init__(self, text):
        self.ids, self.links, self.errors, opened = set(), [], [], []
        for match in TAG.finditer(text.removeprefix('<!DOCTYPE html>')):
            tag = WELL_FORMED.fullmatch(match[0])
            if not tag:
                self.errors.append(f'{match[0][:60]} is no tag')
            elif tag[1]:
                if not opened or opened.pop() != tag[2]:
                    self.errors.append(f'{match[0]} closes nothing')
            else:
                if tag[3]:
                    self.attributes(tag[2], tag[3])
                if tag[2] not in VOID:
                    opened.append(tag[2])
        self.errors += [f'<{tag}> is not closed' for tag in opened]

    def attributes(self, tag, text):
        for name, value in ATTRIBUTE.findall(text):
            if name == 'id':
                if value in self.ids:
                    self.errors.append(f'id "{value}" is given twice')
                self.ids.add(unescape(value))
            elif name in ('href', 'src'):
                self.links.append(unescape(value))
            elif name.startswith('on'):
                self.errors.append(f'<{tag}> has {name}')


def check(files):
    """What is wrong with a site, {path: bytes}: links to nothing, anchors that are not there, tags left open."""
    wrong, checked = [], {}
    for path in sorted(files):
        if path.endswith('.html'):
            checked[path] = Checked(files[path].decode())
            wrong += [f'{path}: {error}' for error in checked[path].errors]
    for path, page in checked.items():
        for link in dict.fromkeys(page.links):
            if re.match(r'(https?|mailto):', link):
                continue
            target, _, anchor = link.partition('#')
            to = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
            if to not in files:
                wrong.append(f'{path}: {link}: no such file')
            elif anchor and to in checked and anchor not in checked[to].ids:
                wrong.append(f'{path}: {link}: no such anchor')
    return wrong
