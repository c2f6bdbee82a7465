#!/usr/bin/env python3
"""What script/site is made of: the reader of headers, Markdown, colours, pages, and the checks that must fail."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'script/site'))
sys.path.insert(0, str(ROOT / 'tests/docs'))
sys.dont_write_bytecode = True

import headers  # noqa: E402
import highlight  # noqa: E402
import links  # noqa: E402
import markdown  # noqa: E402
import pages  # noqa: E402
import reference  # noqa: E402


def read(text):
    return headers.read(text, 'x.hpp').entities


def inside(text):
    return read(f'namespace asyncio {{\ninline namespace v1 {{\n{text}\n}}\n}}\n')


def html(text):
    return markdown.Renderer().render(text)


class Headers(unittest.TestCase):
    def test_a_comment_belongs_to_what_follows_without_a_blank_line(self):
        a, b, c = inside('// Both.\nvoid a();\nvoid b();\n\nvoid c();')
        self.assertEqual([e.comment for e in (a, b, c)], [['Both.'], ['Both.'], []])
        self.assertIs(b.group, a)

    def test_a_comment_behind_a_declaration_belongs_to_it_alone(self):
        a, b = inside('struct S {\n    int a;  // one\n            // and more\n    int b;\n};')[0].members
        self.assertEqual(a.comment, ['one', 'and more'])
        self.assertEqual(b.comment, [])

    def test_requires_clauses_end_where_the_declaration_begins(self):
        f, = inside('template <class A>\n    requires(sizeof(A) > 0) && requires(A a) { a.b(); }\n'
                    'auto f(A&& a) -> std::pair<A, int> { return {}; }')
        self.assertEqual((f.kind, f.name, f.parameters), ('function', 'f', 'A&& a'))

    def test_a_requirement_behind_the_parameters_is_no_body(self):
        f, g = inside('template <class A>\nauto f(A a)\n    requires requires(A& w) { w.g(); }\n{ return 1; }\nint g;')
        self.assertEqual((f.name, g.name), ('f', 'g'))

    def test_constructors_with_initialisers(self):
        c, = inside('struct S {\n    S(int n) : a_(n), b_{n}, c_(f({1, 2})) {}\n};')[0].members
        self.assertEqual((c.kind, c.name, c.signature), ('function', 'S', 'S(int n)'))

    def test_parentheses_of_a_type_are_not_parameters(self):
        a, b, c = inside('std::function<void(int)> a;\ndecltype(auto) b(int n);\nvoid (*c)(int);')
        self.assertEqual([(e.kind, e.name) for e in (a, b, c)], [('variable', 'a'), ('function', 'b'), ('variable', 'c')])

    def test_operators_are_named(self):
        names = [e.name for e in inside('struct S {\n    void operator()(int);\n    explicit operator bool() const;\n'
                                        '    bool operator==(const S&) const;\n    S& operator<<(int);\n};')[0].members]
        self.assertEqual(names, ['operator()', 'operator bool', 'operator==', 'operator<<'])

    def test_braces_in_literals_and_comments_are_text(self):
        a, b = inside("char a() { return '}'; }  // }\nconst char* b = R\"x({\" })x\";")
        self.assertEqual((a.name, b.name), ('a', 'b'))

    def test_digits_with_separators_are_no_characters(self):
        a, b = inside("int a = 100'000;\nint b = 1'0;")
        self.assertEqual((a.signature, b.name), ("int a = 100'000", 'b'))

    def test_of_two_branches_the_general_one_is_read(self):
        s, = inside('#ifdef X\nstruct A : B {\n#else\nstruct A {\n#endif\n    int a;\n};')
        self.assertEqual((s.name, s.bases), ('A', []))

        self.assertEqual(inside('// S.\n#ifdef X\nstruct A : B {\n#else\nstruct A {\n#endif\n};')[0].comment, ['S.'])

    def test_enumerators_have_comments_of_their_own(self):
        e, = inside('enum class E {\n    a,  // one\n    // two\n    b = 2,\n};')
        self.assertEqual([(m.name, m.comment) for m in e.members], [('a', ['one']), ('b', ['two'])])

    def test_private_members_are_private(self):
        members = inside('class S {\n    int a;\n  public:\n    int b;\n};')[0].members
        self.assertEqual([m.access for m in members], ['private', 'public'])

    def test_what_is_not_understood_is_an_error_with_its_place(self):
        for text in ('namespace {\nint a;\n}\n', 'typedef int A;\n', 'void f() {\n', 'int a;\n)\n'):
            with self.assertRaisesRegex(headers.HeaderError, r'x\.hpp:\d+: '):
                read(text)

    def test_what_is_cut_off_is_read_or_is_an_error(self):
        text = (ROOT / 'include/asyncio/timeouts.hpp').read_text()
        errors = 0
        for n in range(0, len(text), 97):
            try:
                read(text[:n])
                read(text[n:])
            except headers.HeaderError:
                errors += 1
        self.assertGreater(errors, 50)
        for garbage in ('class', 'class X', 'template <', 'using', 'int', 'a b c', '}', 'operator', 'X::', 'enum {', 'enum E { = };',
                        'friend', '= 1;', '(;)', '<', '"', "'", 'R"(', '#if', '#else', '#endif\n#else', '/*'):
            for around in ('', 'namespace a {', 'class X {'):
                try:
                    read(around + garbage)
                except headers.HeaderError:
                    pass

    def test_every_header_is_read_whole(self):
        # By a search of another kind: classes that are exported, and functions that are.
        exported = headers.re.compile(r'^(?:class|struct) (?:\[\[[^]]*\]\] )?ASYNCIO_API (\w+)(?: final)?(?: :(?!:)[^;{]*)? \{'
                                      r'|^ASYNCIO_API [^;{(]*?\b(\w+)\(', headers.re.M)
        count = 0
        for path in sorted((ROOT / 'include').rglob('*.hpp')):
            found = headers.read(path.read_text(), path.name)
            names = {entity.name for entity in found.entities}
            for match in exported.finditer(found.code):
                if match[1] or match[2] != 'operator':
                    self.assertIn(match[1] or match[2], names, path)
                    count += 1
        self.assertGreater(count, 100)


class Comments(unittest.TestCase):
    def test_raises_and_cancel_are_parts(self):
        found = reference.parts(['Waits. Raises: OSError.', 'If cancelled: nothing is lost.'])
        self.assertEqual([(label, blocks[0][1]) for label, blocks in found],
                         [(None, 'Waits.'), ('Raises', 'OSError.'), ('If cancelled', 'nothing is lost.')])

    def test_what_is_drawn_keeps_its_lines(self):
        self.assertEqual(reference.parts(['A table:', '', '  a  b', '  1  2'])[0][1][1], ('drawn', 'a  b\n1  2'))

    def test_long_signatures_have_a_line_for_each_parameter(self):
        laid = reference.lay_out('template <class F> void call(std::vector<std::pair<int, int>> first, '
                                 'std::string_view second_of_them, F&& f) noexcept')
        self.assertEqual(laid.split('\n'), ['template <class F>', 'void call(',
                                           '    std::vector<std::pair<int, int>> first,',
                                           '    std::string_view second_of_them,', '    F&& f) noexcept'])


class Markdown(unittest.TestCase):
    def test_html_is_text(self):
        self.assertEqual(html('a <script>alert(1)</script> & `</code>` b'),
                         '<p>a &lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>&lt;/code&gt;</code> b</p>')
        self.assertEqual(html('```\n</code></pre><b>\n```'),
                         '<pre><code>&lt;/code&gt;&lt;/pre&gt;&lt;b&gt;\n</code></pre>')
        self.assertIn('href="x&quot;onclick=&quot;y"', html('[a](x"onclick="y)'))
        self.assertNotIn('<b>', html('# <b>\n\n| <b> |\n|---|\n| <b> |\n\n![<b>](x)\n\n- <b>\n\n> <b>'))

    def test_anchors_are_those_of_github(self):
        renderer = markdown.Renderer()
        renderer.render("# What's `this`, then?\n\n## epoll or io_uring\n\n## epoll or io_uring\n")
        self.assertEqual([a for _, a, _ in renderer.headings],
                         ['whats-this-then', 'epoll-or-io_uring', 'epoll-or-io_uring-1'])

    def test_lists_hold_lists_and_blocks(self):
        self.assertEqual(html('- a\n  b\n  - c\n- d').replace('\n', ''),
                         '<ul><li>a b<ul><li>c</li></ul></li><li>d</li></ul>'.replace('a b', 'ab'))
        self.assertIn('<ol start="3">', html('3. a\n4. b'))
        self.assertIn('<li><p>a</p>', html('1. a\n\n   ```\n   x\n   ```\n\n2. b'))

    def test_tables(self):
        made = html('| a | b |\n|---|--:|\n| `x \\| y` | 2 |').replace('\n', '')
        self.assertIn('<th>a</th><th class="right">b</th>', made)
        self.assertIn('<td><code>x | y</code></td><td class="right">2</td>', made)

    def test_marks_within_code_are_code(self):
        self.assertEqual(html('`**a** [b](c) \\*` **`d`** \\*e\\*'),
                         '<p><code>**a** [b](c) \\*</code> <strong><code>d</code></strong> *e*</p>')

    def test_anything_is_some_page(self):
        text = (ROOT / 'docs/tutorial.md').read_text() + '- a\n\n  | b |\n  |---|\n> ```\n1. *c* [d](e "f")\n'
        for n in range(0, len(text), 41):
            for part in (text[:n], text[n:], text[n:n + 60].replace(' ', '')):
                self.assertFalse(pages.check({'a.html': html(part).encode()}) and
                                 [w for w in pages.check({'a.html': html(part).encode()}) if 'no such' not in w])
        for garbage in ('|', '|-|\n|-|', '|a|\n|-|', '```', '- ', '-', '1.', '#', '<!--', '`', '[', '[a](', '![', '**', '\\', '> ',
                        '\0', '\0' + '0' + '\0', '    ', '\t- a\n\t\tb', '[' * 500, '*' * 500, '`' * 500, '> ' * 50):
            html(garbage)

    def test_links_of_other_kinds_are_not_made(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = pathlib.Path(folder.name)
        (root / 'README.md').write_text('# A\n\n[b](javascript:alert(1))\n')
        site = pages.Site(root)
        files = site.make()
        self.assertEqual(len(site.broken), 1)
        self.assertNotIn(b'javascript', files['index.html'])

    def test_comments_are_left_out(self):
        self.assertEqual(html('<!-- cpp prelude\nint a;\n-->\na'), '<p>a</p>')


class Colours(unittest.TestCase):
    def test_nothing_is_lost_and_nothing_is_html(self):
        for language in ('cpp', 'python', 'sh', 'cmake', 'text'):
            for text in ('a < b && c > "</code>" // <script>\n', "'\\'' R\"x(<)x\" #include <a>\n", '"unclosed\n', '# <x>'):
                made = highlight.highlight(text, language)
                self.assertEqual(pages.unescape(pages.re.sub(r'<[^>]*>', '', made)), text)

    def test_lines_of_a_comment_are_each_closed(self):
        self.assertEqual(pages.lines_of('<span class="c">a\nb</span>\n'),
                         ['<span class="c">a</span>', '<span class="c">b</span>'])


class SmallSite(unittest.TestCase):
    """A repository of a page and a header, to see what the checks say."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.page('README.md', '# Small\n\nSee [the guide](docs/guide.md#part) and `asyncio::f`.\n')
        self.page('docs/guide.md', '# Guide\n\n## Part\n\n```cpp\nasyncio::f(1);\n```\n')
        self.header('// Does it.\n// Raises: OSError.\nvoid f(int n);')

    def page(self, path, text):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def header(self, text):
        self.page('include/asyncio/small.hpp',
                  f'// Small things.\n#pragma once\n\nnamespace asyncio {{\ninline namespace v1 {{\n\n{text}\n\n}}\n}}\n')

    def made(self):
        self.site = pages.Site(self.root)
        files = self.site.make()
        self.wrong = self.site.broken + pages.check(files)
        self.undocumented = ['::'.join(e.path) for e in self.site.reference.undocumented]
        return {path: content.decode() for path, content in files.items() if path.endswith('.html')}

    def test_a_good_one_has_no_faults(self):
        made = self.made()
        self.assertEqual((self.wrong, self.undocumented), ([], []))
        self.assertIn('href="reference/small.html#f"', made['index.html'])
        self.assertIn('<a href="../reference/small.html#f">asyncio::f</a>', made['docs/guide.html'])
        self.assertIn('<a href="../docs/guide.html#part">Guide</a>', made['reference/small.html'])
        self.assertIn('<p class="part raises"><strong>Raises:</strong> OSError.</p>', made['reference/small.html'])
        self.assertIn('../include/asyncio/small.hpp.html#L9', made['reference/small.html'])

    def test_a_call_on_a_modules_page_is_that_of_its_class(self):
        self.header('// F.\nvoid wait();')
        self.page('include/asyncio/other.hpp', '// Other.\nnamespace asyncio {\n// S.\nclass S {\n  public:\n    // W.\n    void wait();\n'
                  '    // W.\n    void wait(int n);\n};\n}\n')
        self.page('docs/other.md', '# Other\n\n`wait()` `asyncio::wait()` `S::wait` `wait`\n')
        self.page('docs/guide.md', '# Guide\n\n## Part\n\n`wait()`\n')
        made = self.made()
        self.assertEqual(self.wrong, [])
        links_of = pages.re.compile(r'reference/(\w+\.html#[\w.-]+)"><code>')
        self.assertEqual(links_of.findall(made['docs/other.html']), ['other.html#S.wait', 'small.html#wait', 'other.html#S.wait'])
        self.assertEqual(links_of.findall(made['docs/guide.html']), ['small.html#wait'])

    def test_names_without_a_comment_are_found(self):
        self.header('void f();\n\nstruct S {\n    int a;\n    // B.\n    void b();\n\n    void c();\n};\n\n'
                    'enum class E { one };\n\nusing A = int;\n\ntemplate <class T>\nconcept C = true;\n\n'
                    'inline constexpr int k = 1;')
        self.made()
        self.assertEqual(self.undocumented, ['asyncio::f', 'asyncio::S', 'asyncio::S::a', 'asyncio::S::c', 'asyncio::E',
                                             'asyncio::E::one', 'asyncio::A', 'asyncio::C', 'asyncio::k'])

    def test_rows_and_errors_alone_tell_nothing(self):
        self.header('// F-01, F-02.\nvoid f();\n\n// Raises: OSError.\nvoid g();\n\n// G. F-03. Raises: OSError.\nvoid h();')
        self.made()
        self.assertEqual(self.undocumented, ['asyncio::f', 'asyncio::g'])

    def test_a_function_that_is_declared_before_it_is_documented_is_one(self):
        self.header('void f(int n);\n\n// F.\nvoid f(int n);')
        made = self.made()
        self.assertEqual(self.undocumented, [])
        self.assertNotIn('id="f-2"', made['reference/small.html'])

    def test_what_no_user_names_needs_no_comment(self):
        self.header('// S.\nclass S : public detail::B {\n  public:\n    S() = default;\n    S(const S&) = delete;\n'
                    '    ~S();\n    bool operator==(const S&) const;\n    const char* what() const override;\n'
                    '    using B::B;\n    explicit S(int n);\n    // For the library.\n    int a();\n\n  private:\n    int b_;\n};\n\n'
                    'namespace detail {\nvoid g();\n}')
        self.made()
        self.assertEqual(self.undocumented, [])

    def test_members_of_an_internal_base_are_those_of_the_class(self):
        self.header('namespace detail {\nclass B {\n  public:\n    // G.\n    void g();\n\n    void h();\n'
                    '  protected:\n    // I.\n    void i();\n};\n}\n\n// S.\nclass S : public detail::B {};')
        made = self.made()
        self.assertEqual(self.undocumented, ['asyncio::detail::B::h'])
        self.assertIn('id="S.g"', made['reference/small.html'])
        self.assertNotIn('id="S.i"', made['reference/small.html'])

    def test_a_comment_that_holds_html_shows_it_as_text(self):
        self.header('// Gives <script>alert(1)</script> and `</code>`, </p>.\n//\n//   <b> drawn </b>\nvoid f(int n = "<i>"[0]);')
        made = self.made()
        self.assertEqual(self.wrong, [])
        self.assertIn('&lt;script&gt;alert(1)&lt;/script&gt;', made['reference/small.html'])
        for page in made.values():
            for tag in ('<script>', '<b>', '<i>', 'alert(1)</script>'):
                self.assertNotIn(tag, page)
        self.assertNotIn('</script>alert', self.site.files['search-index.js'].decode())

    def test_links_that_lead_nowhere_are_found(self):
        self.page('docs/guide.md', '# Guide\n\n[a](none.md) [b](../README.md#none) [c](#none)\n')
        self.page('README.md', '# Small\n\n[d](docs/guide.md#part) [ok](docs/guide.md#guide) [web](https://example.org/)\n')
        self.made()
        self.assertEqual(len(self.wrong), 5, self.wrong)     # none.md is told of twice: in the source and in the page
        found = [(str(page), target) for page, target, _ in links.wrong_links(self.root)]
        self.assertEqual(found, [('README.md', 'docs/guide.md#part'), ('docs/guide.md', 'none.md'),
                                 ('docs/guide.md', '../README.md#none'), ('docs/guide.md', '#none')])

    def test_what_is_linked_and_has_no_page_gets_one(self):
        self.page('tools/one.py', 'print("<b>")  # text\n')
        self.page('README.md', '# Small\n\n[a](tools/one.py) [b](tools) [c](docs/guide.md)\n')
        made = self.made()
        self.assertEqual(self.wrong, [])
        self.assertIn('&lt;b&gt;', made['tools/one.py.html'])
        self.assertIn('<code>one.py</code>', made['tools/index.html'])

    def test_pages_of_a_folder_follow_the_page_of_its_name(self):
        self.page('docs/guide/2.md', '# Second\n')
        self.page('docs/guide/1.md', '# First\n')
        self.page('docs/more.md', '# More\n')
        made = self.made()
        self.assertEqual(self.wrong, [])
        nav = made['index.html']
        at = [nav.index(f'>{title}</a>') for title in ('Guide', 'First', 'Second', 'More')]
        self.assertEqual(at, sorted(at))

    def test_the_program_fails_for_each(self):
        loader = importlib.util.spec_from_loader('docs_program', importlib.machinery.SourceFileLoader(
            'docs_program', str(ROOT / 'script/docs')))
        program = importlib.util.module_from_spec(loader)
        loader.loader.exec_module(program)
        program.ROOT = self.root
        quiet = open(os.devnull, 'w')
        self.addCleanup(quiet.close)
        from contextlib import redirect_stderr, redirect_stdout
        with redirect_stderr(quiet), redirect_stdout(quiet):
            self.assertEqual(program.main(['--check']), 0)
            self.assertEqual(program.main([str(self.root / 'out')]), 0)
            self.assertTrue((self.root / 'out/index.html').is_file())
            (self.root / 'out/old.html').write_text('')
            self.assertEqual(program.main([str(self.root / 'out')]), 0)
            self.assertFalse((self.root / 'out/old.html').exists())
            self.assertEqual(program.main(['a', 'b']), 2)
            self.assertEqual(program.main(['--none']), 2)
            self.assertEqual(program.main(['/dev/null/x']), 1)
            self.header('void f();')
            self.assertEqual(program.main(['--check']), 1)
            self.header('// F.\nvoid f();')
            self.page('docs/guide.md', '# Guide\n')
            self.assertEqual(program.main(['--check']), 1)
            self.page('docs/guide.md', '# Guide\n## Part\n')
            self.assertEqual(program.main([str(self.root / 'out')]), 0)     # said, but the pages are made
            self.header('void f( {')
            self.assertEqual(program.main(['--check']), 1)
            self.assertEqual(program.main([str(self.root / 'out')]), 1)


class Checks(unittest.TestCase):
    def wrong(self, body):
        return pages.check({'a.html': f'<!DOCTYPE html>{body}'.encode(), 'b.html': b'<p id="x">b</p>'})

    def test_what_a_page_may_not_have(self):
        self.assertEqual(self.wrong('<a href="b.html#x">b</a>'), [])
        for body in ('<a href="c.html">c</a>', '<a href="b.html#y">y</a>', '<a href="#y">y</a>', '<img src="d.svg">',
                     '<p>', '</p>', '<p><b></p></b>', '<p id="a"></p><p id="a"></p>', '<p onclick="x">a</p>', 'a < b',
                     '<P>a</P>'):
            self.assertTrue(self.wrong(body), body)


if __name__ == '__main__':
    unittest.main()
