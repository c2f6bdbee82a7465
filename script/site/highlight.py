"""Colours of source text, and links from the names in it. What is not understood stays as it is: nothing is lost."""

import re
from html import escape

KEYWORDS = {
    'cpp': '''alignas alignof auto bool break case catch char class co_await co_return co_yield concept const
        constexpr consteval constinit const_cast continue decltype default delete do double dynamic_cast else enum
        explicit extern false final float for friend goto if inline int long mutable namespace new noexcept nullptr
        operator override private protected public reinterpret_cast requires return short signed sizeof static
        static_assert static_cast struct switch template this throw true try typedef typeid typename union unsigned
        using virtual void volatile while''',
    'python': '''and as assert async await break class continue def del elif else except False finally for from global
        if import in is lambda None nonlocal not or pass raise return True try while with yield''',
    'sh': 'if then else elif fi for while until do done case esac in function return exit export local set',
    'cmake': '',
}
WORDS = {language: frozenset(words.split()) for language, words in KEYWORDS.items()}
NAMES = {'c++': 'cpp', 'hpp': 'cpp', 'bash': 'sh', 'shell': 'sh', 'py': 'python'}

STRING = r'"(?:[^"\\\n]|\\.)*"'
TOKENS = {
    'cpp': re.compile(
        r'(?P<comment>//[^\n]*|/\*(?s:.*?)\*/)'
        r'|(?P<string>\b(?:u8|[uUL])?R"(?P<d>[^\s()\\]{0,16})\((?s:.*?)\)(?P=d)"|(?:\b(?:u8|[uUL]))?' + STRING +
        r"|(?<![\w'])'(?:[^'\\\n]|\\.)+')"
        r'|(?P<directive>^[ \t]*\#[ \t]*\w+(?:[ \t]*<[^>\n]*>)?)'
        r"|(?P<number>\b\d[\w.']*)"
        r'|(?P<name>(?:\b[A-Za-z_]\w*\s?::\s?)*\b[A-Za-z_]\w*)', re.M),
    'python': re.compile(
        r'(?P<comment>\#[^\n]*)|(?P<string>\b[rbfu]{0,2}(?:"""(?s:.*?)"""|' + STRING + r"|'(?:[^'\\\n]|\\.)*'))"
        r'|(?P<number>\b\d[\w.]*)|(?P<name>\b[A-Za-z_]\w*)'),
    'sh': re.compile(r"(?P<comment>(?:^|(?<=\s))\#[^\n]*)|(?P<string>" + STRING + r"|'[^'\n]*')|(?P<name>\b[A-Za-z_]\w*)",
                     re.M),
    'cmake': re.compile(r'(?P<comment>\#[^\n]*)|(?P<string>' + STRING + r')|(?P<directive>\b[a-z_]+(?=\())'),
}
CLASSES = {'comment': 'c', 'string': 's', 'directive': 'd', 'number': 'n'}


def language_of(info):
    word = (info.split() or [''])[0].lower()
    return NAMES.get(word, word)


def language_of_file(path):
    name = path.rpartition('/')[2]
    suffix = name.rpartition('.')[2]
    return {'cpp': 'cpp', 'hpp': 'cpp', 'py': 'python', 'sh': 'sh', 'cmake': 'cmake'}.get(
        suffix, 'cmake' if name == 'CMakeLists.txt' else 'text')


def highlight(text, language, link=None):
    """HTML of `text`. `link(name)` gives the address of a name as a::b, or None."""
    tokens = TOKENS.get(language)
    if tokens is None:
        return escape(text)
    out, last = [], 0
    for match in tokens.finditer(text):
        kind, found = match.lastgroup, match[0]
        if kind == 'd':
            kind = 'string'
        out.append(escape(text[last:match.start()]))
        last = match.end()
        if kind == 'name':
            out.append(name(found, language, link))
        else:
            out.append(f'<span class="{CLASSES[kind]}">{escape(found)}</span>')
    out.append(escape(text[last:]))
    return ''.join(out)


def name(found, language, link):
    if found in WORDS[language]:
        return f'<span class="k">{found}</span>'
    if link and (address := link(re.sub(r'\s', '', found))):
        return f'<a href="{escape(address)}">{escape(found)}</a>'
    return escape(found)
