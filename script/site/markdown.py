"""Markdown as our pages use it, to HTML: a part of GitHub's, with GitHub's anchors.

Headings (#), paragraphs, lists (nested, with blocks in their items), tables, fenced blocks, quotations, rules; code,
links, images, bold, emphasis, bare addresses. Comments of HTML are left out; any other HTML is shown as text.
"""

import re
from html import escape

FENCE = re.compile(r'^(`{3,}|~{3,})\s*(.*?)\s*$')
HEADING = re.compile(r'^(#{1,6})\s+(.*?)\s*#*\s*$')
RULE = re.compile(r'^(?:-{3,}|\*{3,}|_{3,})$')
ITEM = re.compile(r'^([-*+]|\d{1,9}[.)])(\s+)(?=\S)')
DELIMITERS = re.compile(r'^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$')
ROW_ID = re.compile(r'^[A-Z]{1,3}-?\d+[a-z]?$')

CODE = re.compile(r'(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)', re.S)
LINK = re.compile(r'(!?)\[((?:[^][\\]|\\.|\[[^][]*\])*)\]\(\s*(<[^>]*>|(?:[^\s()]|\([^\s()]*\))*)(?:\s+"[^"]*")?\s*\)', re.S)
AUTOLINK = re.compile(r'<(https?://[^\s<>]+)>')
BARE = re.compile(r'(?<![\w/"=])https?://[^\s<>`|]*[^\s<>`|.,;:!?)\'"]')
ESCAPE = re.compile(r'\\([!-/:-@[-`{-~])')
ENTITY = re.compile(r'&amp;(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});')
STRONG = re.compile(r'\*\*(?=\S)(.+?)(?<=[^\s*])\*\*(?!\*)', re.S)
EMPHASIS = re.compile(r'(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])', re.S)


def slug(text):
    """GitHub's anchor of a heading."""
    return re.sub(r'[^\w\- ]', '', text.strip().lower()).replace(' ', '-')


def plain(text):
    """The text of inline Markdown without its marks."""
    text = LINK.sub(lambda m: m[2], text)
    return ESCAPE.sub(r'\1', re.sub(r'`+|\*\*', '', text))


class Renderer:
    """One page. What a page may do otherwise are the four methods at the end."""

    def __init__(self):
        self.ids = set()
        self.headings = []       # (level, anchor, HTML of its text)
        self.sections = []       # [anchor, plain heading, plain text]
        self.targets = []        # of links and images, as they are written

    def render(self, text):
        text = text.replace('\0', '').expandtabs(4)
        # Comments end with the line that closes them; those within code are no comments.
        return self.blocks(text.split('\n'))

    # ---- blocks

    def blocks(self, lines, tight=False):
        out, i = [], 0
        while i < len(lines):
            line = lines[i]
            stripped = line.strip()
            indent = len(line) - len(line.lstrip())
            if not stripped:
                i += 1
            elif stripped.startswith('<!--'):
                while i < len(lines) and '-->' not in lines[i]:
                    i += 1
                i += 1
            elif match := FENCE.match(stripped):
                i, block = self.fenced(lines, i, indent, match)
                out.append(block)
            elif indent >= 4:
                code = []
                while i < len(lines) and (not lines[i].strip() or lines[i].startswith('    ')):
                    code.append(lines[i][4:])
                    i += 1
                out.append(self.fence('', '\n'.join(code).rstrip('\n') + '\n'))
            elif match := HEADING.match(stripped):
                out.append(self.heading(len(match[1]), match[2]))
                i += 1
            elif RULE.match(stripped):
                out.append('<hr>')
                i += 1
            elif stripped.startswith('>'):
                quoted = []
                while i < len(lines) and lines[i].strip().startswith('>'):
                    quoted.append(re.sub(r'^\s*> ?', '', lines[i]))
                    i += 1
                out.append(f'<blockquote>{self.blocks(quoted)}</blockquote>')
            elif ITEM.match(stripped):
                i, block = self.list(lines, i, indent)
                out.append(block)
            elif '|' in stripped and i + 1 < len(lines) and DELIMITERS.match(lines[i + 1].strip()):
                i, block = self.table(lines, i)
                out.append(block)
            else:
                begin = i
                while i < len(lines) and lines[i].strip() and (i == begin or not self.interrupts(lines[i])):
                    i += 1
                text = '\n'.join(part.strip() for part in lines[begin:i])
                self.note(text)
                content = self.inline(text)
                out.append(content if tight else f'<p>{content}</p>')
        return '\n'.join(out)

    @staticmethod
    def interrupts(line):
        stripped = line.strip()
        item = ITEM.match(stripped)
        return bool(FENCE.match(stripped) or HEADING.match(stripped) or RULE.match(stripped)
                    or stripped.startswith(('>', '<!--'))
                    or (item and (not item[1][0].isdigit() or item[1][:-1] == '1')))

    def fenced(self, lines, i, indent, match):
        close = re.compile(rf'^\s*{re.escape(match[1][0])}{{{len(match[1])},}}\s*$')
        code, i = [], i + 1
        while i < len(lines) and not close.match(lines[i]):
            code.append(lines[i][min(indent, len(lines[i]) - len(lines[i].lstrip())):])
            i += 1
        return i + 1, self.fence(match[2], ''.join(line + '\n' for line in code))

    def list(self, lines, i, indent):
        first = ITEM.match(lines[i].strip())
        ordered = first[1][0].isdigit()
        items, loose, ended_blank = [], False, False
        while i < len(lines):
            line = lines[i]
            own = len(line) - len(line.lstrip())
            match = ITEM.match(line.strip())
            if not match or own > indent + 1 or own < indent or (match[1][0].isdigit() != ordered):
                break
            loose = loose or ended_blank
            inner = own + match.end()
            body, i, ended_blank = [' ' * inner + line[inner:]], i + 1, False
            fenced = None
            while i < len(lines):
                line = lines[i]
                own = len(line) - len(line.lstrip())
                stripped = line.strip()
                if not stripped:
                    ended_blank = True
                    body.append('')
                elif own >= inner:
                    loose = loose or (ended_blank and fenced is None and own == inner and not ITEM.match(stripped))
                    ended_blank = False
                    if mark := FENCE.match(stripped):
                        fenced = mark[1] if fenced is None else None
                    body.append(line)
                elif ended_blank or self.interrupts(line) or ITEM.match(stripped):
                    break
                else:                     # a line that goes on with the paragraph
                    body.append(' ' * inner + stripped)
                i += 1
            while body and not body[-1]:
                body.pop()
            items.append([part[inner:] for part in body])
            if i < len(lines) and ended_blank and not ITEM.match(lines[i].strip()):
                break
        start = f' start="{int(first[1][:-1])}"' if ordered and int(first[1][:-1]) != 1 else ''
        tag = 'ol' if ordered else 'ul'
        inside = ''.join(f'<li>{self.blocks(item, tight=not loose)}</li>\n' for item in items)
        return i, f'<{tag}{start}>\n{inside}</{tag}>'

    def table(self, lines, i):
        aligned = []
        for cell in lines[i + 1].strip().strip('|').split('|'):
            cell = cell.strip()
            aligned.append('center' if cell[0] == cell[-1] == ':' and len(cell) > 1 else
                           'right' if cell.endswith(':') else '')
        out = []
        head = self.cells(lines[i])
        i += 2
        rows = []
        while i < len(lines) and lines[i].strip() and not lines[i].strip().startswith('<!--'):
            rows.append(self.cells(lines[i]))
            i += 1
        # Text is read below one another where there is no room beside; numbers are not.
        stacked = len(aligned) <= 5 and any(len(cell) > 30 for row in rows for cell in row)
        labels = [''] + [plain(cell) for cell in head[1:]] if stacked else []
        if any(head):
            out.append(f'<thead>{self.row(head, aligned, "th", [])}</thead>')
        out.append('<tbody>')
        out += [self.row(row, aligned, 'td', labels) for row in rows]
        out.append('</tbody>')
        kind = ' class="stack"' if stacked else ''
        return i, f'<div class="table"><table{kind}>\n' + '\n'.join(out) + '\n</table></div>'

    @staticmethod
    def cells(line):
        line = re.sub(r'^\||(?<!\\)\|$', '', line.strip())
        return [cell.strip().replace(r'\|', '|') for cell in re.split(r'(?<!\\)\|', line)]

    def row(self, cells, aligned, tag, labels):
        self.note(' '.join(cells))
        cells = (cells + [''] * len(aligned))[:len(aligned)]
        anchor = ''
        if tag == 'td' and ROW_ID.match(cells[0]) and cells[0] not in self.ids:
            self.ids.add(cells[0])
            anchor = f' id="{cells[0]}"'
        out = ''
        for i, (cell, align) in enumerate(zip(cells, aligned)):
            style = f' class="{align}"' if align else ''
            if cell and i < len(labels) and labels[i]:
                style += f' data-label="{escape(labels[i])}"'
            out += f'<{tag}{style}>{self.inline(cell)}</{tag}>'
        return f'<tr{anchor}>{out}</tr>'

    def heading(self, level, text):
        anchor = self.new_id(slug(plain(text)))
        content = self.inline(text)
        self.headings.append((level, anchor, content))
        self.sections.append([anchor, plain(text), []])
        return (f'<h{level} id="{anchor}">{content}'
                f'<a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a></h{level}>')

    def new_id(self, wanted):
        anchor, n = wanted, 0
        while anchor in self.ids:
            n += 1
            anchor = f'{wanted}-{n}'
        self.ids.add(anchor)
        return anchor

    def note(self, text):
        if self.sections:
            self.sections[-1][2].append(re.sub(r'\s+', ' ', plain(text)))

    # ---- inside of a line

    def inline(self, text):
        kept = []

        def keep(content):
            kept.append(content)
            return f'\0{len(kept) - 1}\0'

        def code(match):
            content = match[2].replace('\n', ' ')
            if content.startswith(' ') and content.endswith(' ') and content.strip():
                content = content[1:-1]
            return keep(self.code(content))

        def link(match):
            target = match[3].strip('<>')
            self.targets.append(target)
            if match[1]:
                return keep(self.image(ESCAPE.sub(r'\1', match[2]), target))
            return keep(f'<a href="{escape(self.link(target))}">') + match[2] + keep('</a>')

        def address(found):
            return keep(f'<a href="{escape(found)}">{escape(found)}</a>')

        # What is escaped is no mark, but within code a backslash is one.
        text = re.sub(f'{CODE.pattern}|{ESCAPE.pattern}',
                      lambda m: code(m) if m[1] else keep(escape(m[3])), text, flags=re.S)
        text = LINK.sub(link, text)
        text = AUTOLINK.sub(lambda m: address(m[1]), text)
        text = BARE.sub(lambda m: address(m[0]), text)
        text = ENTITY.sub(r'&\1;', escape(text, quote=False))
        text = STRONG.sub(r'<strong>\1</strong>', text)
        text = EMPHASIS.sub(r'<em>\1</em>', text)
        while '\0' in text:
            text = re.sub('\0(\\d+)\0', lambda m: kept[int(m[1])], text)
        return text

    # ---- what a page may do otherwise

    def link(self, target):
        return target

    def image(self, text, target):
        return f'<img src="{escape(target)}" alt="{escape(text)}">'

    def code(self, text):
        return f'<code>{escape(text)}</code>'

    def fence(self, info, text):
        return f'<pre><code>{escape(text)}</code></pre>'
