"""Reads C++ headers: what they declare, and the comments that stand at it.

It reads the C++ that this project writes (one declaration after the other, formatted by clang-format), not all of
C++. What it does not understand is an error with its place, never left out in silence.

A comment belongs to the declaration below it, and to those that follow that one without a blank line and without a
comment of their own; or it stands behind a declaration in its line.
"""

import bisect
import re

IDENTIFIER = re.compile(r'[A-Za-z_]\w*')
SPACE = re.compile(r'\s*')
LITERAL = re.compile(r'''R"(?P<d>[^\s()\\]{0,16})\((?s:.*?)\)(?P=d)"|"(?:[^"\\\n]|\\.)*"|(?<![\w])'(?:[^'\\\n]|\\.)+\'''')
COMMENT = re.compile(r'//[^\n]*|/\*(?s:.*?)\*/')
DIRECTIVE = re.compile(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', re.M)
DEFINE = re.compile(r'\s*#\s*define\s+(\w+)')
CLASS = re.compile(r'(class|struct|union|enum(?:\s+(?:class|struct))?)\b')
ACCESS = re.compile(r'(public|protected|private)\s*:(?!:)')
NAMESPACE = re.compile(r'(?:inline\s+)?namespace\b\s*([\w:]*)\s*\{')
OPERATOR = re.compile(r'operator\s*(?:\(\s*\)|\[\s*\]|""\s*\w+|co_await\b|new\b|delete\b|<=>|[-+*/%^&|~!=<>,]+|(?=[A-Za-z_]))')
NO_FUNCTION = {'noexcept', 'explicit', 'alignas', 'decltype', '__attribute__', 'requires', 'sizeof'}
DROPPED = re.compile(r'\bASYNCIO_API\s*|\binline\s+(?=\w)')
CLOSING = {'(': ')', '[': ']', '{': '}'}


class HeaderError(Exception):
    pass


class Entity:
    """One declaration."""

    def __init__(self, kind, name, scope, access, header, line):
        self.kind, self.name, self.scope, self.access = kind, name, scope, access
        self.header, self.line = header, line
        self.signature = ''
        self.parameters = ''     # of a function, for telling special members
        self.comment = []        # its lines, without the slashes
        self.own = False         # the comment is its own, not that of the declaration before it
        self.group = None        # the declaration whose comment it shares
        self.members = []
        self.bases = []          # (access, name as it is written)
        self.special = False     # a specialisation, or defined outside of its class
        self.tail = ''           # of a function: what stands behind the parameters
        self.target = ''         # of a using declaration

    @property
    def path(self):
        return (*self.scope, self.name)

    @property
    def is_virtual_again(self):
        return bool(re.search(r'\b(override|final)\b', self.tail))

    @property
    def is_deleted(self):
        return bool(re.search(r'=\s*delete', self.tail))

    @property
    def has_no_name(self):
        """What is known by its class: constructors without arguments, copies, moves, destructors, operators."""
        if self.kind != 'function':
            return False
        if self.name.startswith(('~', 'operator')) or self.is_deleted:
            return True
        if self.scope and self.name == self.scope[-1]:
            plain = re.sub(r'\s*=.*|\bconst\b', '', self.parameters)
            return not plain.strip() or bool(re.fullmatch(rf'\s*{self.name}(<[^,]*>)?\s*&{{1,2}}\s*\w*\s*', plain))
        return False


class Reader:
    def __init__(self, text, header):
        self.text, self.header = text, header
        self.comments = {}       # line: (column, text, whether it stands alone)
        self.macros = []         # (name, line, the directive)
        self.entities = []
        self.lines = text.split('\n')
        self.line_starts = [0, *(match.end() for match in re.finditer('\n', text))]
        self._blank()
        self.match_brackets()

    # ---- what stands where

    def _blank(self):
        """self.code: without comments and directives; self.mask: without what is in literals, too."""
        def spaces(found):
            return re.sub(r'[^\n]', ' ', found)

        out, last, line = [], 0, 1
        mask = []
        for match in re.finditer(f'{LITERAL.pattern}|{COMMENT.pattern}', self.text):
            line += self.text.count('\n', last, match.start())
            between = self.text[last:match.start()]
            found = match[0]
            out.append(between)
            mask.append(between)
            if found.startswith('//'):
                begin = self.text.rfind('\n', 0, match.start()) + 1
                alone = not self.text[begin:match.start()].strip()
                self.comments[line] = (match.start() - begin, found[2:].rstrip(), alone)
                out.append(spaces(found))
                mask.append(spaces(found))
            elif found.startswith('/*'):
                out.append(spaces(found))
                mask.append(spaces(found))
            else:
                out.append(found)
                mask.append('"' + ' ' * (len(found) - 2) + '"' if '\n' not in found else spaces(found))
            line += found.count('\n')
            last = match.end()
        code, masked = ''.join(out) + self.text[last:], ''.join(mask) + self.text[last:]
        for match in DIRECTIVE.finditer(masked):
            directive = match[0]
            if name := DEFINE.match(directive):
                self.macros.append((name[1], code.count('\n', 0, match.start()) + 1,
                                    code[match.start():match.end()]))
        code, masked = list(code), list(masked)
        for begin, end in self.left_out(''.join(masked)):
            for text in (code, masked):
                text[begin:end] = spaces(''.join(text[begin:end]))
        self.code, self.mask = ''.join(code), ''.join(masked)
        self.kept = self.code.split('\n')

    def left_out(self, masked):
        """What the preprocessor takes: its lines, and of what has an #else all that stands before that."""
        opened = []
        for match in DIRECTIVE.finditer(masked):
            yield match.span()
            word = re.match(r'\s*#\s*(\w*)', match[0])[1]
            if word in ('else', 'endif') and not opened:
                self.fail(match.start(), f'#{word} without an #if')
            if word.startswith('if'):
                opened.append(match.end())
            elif word == 'else':
                yield opened[-1], match.start()
            elif word == 'endif':
                opened.pop()

    def line_of(self, position):
        return bisect.bisect_right(self.line_starts, position)

    def fail(self, position, why):
        raise HeaderError(f'{self.header}:{self.line_of(position)}: {why}')

    def skip_space(self, position):
        return SPACE.match(self.mask, position).end()

    def match_brackets(self):
        """self.brackets: behind the bracket that closes the one at a position."""
        self.brackets, opened = {}, []
        for match in re.finditer(r'[][(){}]', self.mask):
            c, position = match[0], match.start()
            if c in CLOSING:
                opened.append((position, CLOSING[c]))
                continue
            if not opened or opened[-1][1] != c:
                self.fail(position, f'{c} closes nothing')
            self.brackets[opened.pop()[0]] = position + 1
        if opened:
            self.fail(opened[-1][0], f'{self.mask[opened[-1][0]]} is not closed')

    def closing(self, position):
        return self.brackets[position]     # a KeyError where none is

    def closing_angle(self, position):
        depth, begin = 0, position
        while position < len(self.mask):
            c = self.mask[position]
            if c in CLOSING:
                position = self.closing(position)
                continue
            if c == '<':
                depth += 1
            elif c == '>' and self.mask[position - 1] != '-':
                depth -= 1
                if depth == 0:
                    return position + 1
            elif c in ';}':
                break
            position += 1
        self.fail(begin, '< is not closed')

    def skip_attributes(self, position):
        while True:
            position = self.skip_space(position)
            if self.mask.startswith('[[', position):
                position = self.closing(position)
            elif match := re.compile(r'(?:__attribute__|alignas)\s*(?=\()').match(self.mask, position):
                position = self.closing(match.end())
            elif match := re.compile(r'[A-Z][A-Z_]+\b(?=\s+[A-Za-z_\[])').match(self.mask, position):
                position = match.end()      # a macro as ASYNCIO_API
            else:
                return position

    def skip_requires(self, position):
        """Behind a requires clause, whose `requires` ends at `position`."""
        while True:
            position = self.skip_space(position)
            while self.mask[position] == '!':
                position = self.skip_space(position + 1)
            if self.mask[position] == '(':
                position = self.closing(position)
            elif match := re.compile(r'requires\b').match(self.mask, position):
                position = self.skip_space(match.end())
                if self.mask[position] == '(':
                    position = self.skip_space(self.closing(position))
                position = self.closing(position)
            else:
                while match := re.compile(r'(?:::)?\s*\w+').match(self.mask, position):
                    position = match.end()
                    if self.mask[self.skip_space(position)] == '<':
                        position = self.closing_angle(self.skip_space(position))
                    if not self.mask.startswith('::', position):
                        break
            behind = self.skip_space(position)
            if self.mask.startswith(('&&', '||'), behind):
                position = behind + 2
            else:
                return position

    # ---- comments

    def comment_above(self, line):
        lines = []
        # Over the directives, and what they leave out.
        while line > 1 and self.lines[line - 2].strip() and line - 1 not in self.comments and not self.kept[line - 2].strip():
            line -= 1
        while (found := self.comments.get(line - 1)) and found[2]:
            if self._continues_trailing(line - 1):
                break
            lines.insert(0, found[1])
            line -= 1
        return lines

    def _continues_trailing(self, line):
        column = self.comments[line][0]
        while (found := self.comments.get(line - 1)) and found[0] == column:
            if not found[2]:
                return True
            line -= 1
        return False

    def comment_behind(self, line):
        found = self.comments.get(line)
        if not found or found[2]:
            return []
        lines, column = [found[1]], found[0]
        while (found := self.comments.get(line + 1)) and found[2] and found[0] == column:
            lines.append(found[1])
            line += 1
        return lines

    def attach(self, entity, begin, end, before):
        """The comment of what stands in [begin, end); `before`: what was declared just before it in its scope."""
        first, last = self.line_of(begin), self.line_of(end - 1)
        lines = self.comment_above(first) or self.comment_behind(last)
        entity.comment, entity.own = tidy(lines), bool(lines)
        entity.last_line = last
        if not entity.comment and before is not None and before.access == entity.access:
            free = all(not text.strip() for text in self.lines[before.last_line:first - 1])
            blank = first - before.last_line > 1
            if free and not blank and not self.comment_behind(before.last_line):
                entity.group = before.group or before
                entity.comment = entity.group.comment
        return entity

    # ---- declarations

    def read(self):
        title = []
        line = 1
        while (found := self.comments.get(line)) and found[2]:
            title.append(found[1])
            line += 1
        self.title = tidy(title)
        for name, line, directive in self.macros:
            entity = Entity('macro', name, (), 'public', self.header, line)
            entity.signature = re.sub(r'\s*\\\n\s*', ' ', directive.strip())
            entity.comment = tidy(self.comment_above(line) or self.comment_behind(line))
            entity.own = bool(entity.comment)
            entity.last_line = line + directive.count('\n')
            before = self.entities[-1] if self.entities else None
            if not entity.comment and before and before.last_line == line - 1:
                entity.group, entity.comment = before.group or before, before.comment
            self.entities.append(entity)
        self.at = 0
        try:
            self.scope_body(0, len(self.mask), (), 'public', self.entities, False)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # It ran over the end, or took one thing for another.
            self.fail(self.at, 'a declaration that is not understood')
        return self

    def scope_body(self, position, end, scope, access, into, in_class):
        before = None
        while True:
            position = self.skip_space(position)
            if position >= end:
                return
            self.at = position
            if self.mask[position] == ';':
                position += 1
                continue
            if in_class and (match := ACCESS.match(self.mask, position)):
                access, before, position = match[1], None, match.end()
                continue
            if match := NAMESPACE.match(self.mask, position):
                close = self.closing(match.end() - 1)
                names = tuple(n for n in match[1].split('::') if n and n != 'v1')
                if not match[1]:
                    self.fail(position, 'a namespace without a name in a header')
                self.scope_body(match.end(), close - 1, scope + names, 'public', into, False)
                position, before = close, None
                continue
            position, entities = self.declaration(position, scope, access, in_class, before)
            for entity in entities:
                before = entity
                into.append(entity)
            if not entities:
                before = None

    def to_semicolon(self, position):
        while self.mask[position] != ';':
            position = self.closing(position) if self.mask[position] in CLOSING else position + 1
        return position + 1

    def text_of(self, begin, end):
        text = DROPPED.sub('', self.code[begin:end])
        text = re.sub(r'\s+', ' ', text).strip()
        return re.sub(r'(?<=[(<\[]) | (?=[)\]])', '', text)

    def declaration(self, begin, scope, access, in_class, before):
        position = begin
        words = re.compile(r'(static_assert|extern\s+template|using\s+namespace|friend\s+(?:class|struct))\b')
        if words.match(self.mask, position):
            return self.to_semicolon(position), []
        is_template = special = False
        while match := re.compile(r'template\s*(?=<)').match(self.mask, position):
            is_template = True
            close = self.closing_angle(match.end())
            special = special or not self.mask[match.end() + 1:close - 1].strip()
            position = self.skip_space(close)
            if match := re.compile(r'requires\b').match(self.mask, position):
                position = self.skip_space(self.skip_requires(match.end()))
        if is_template and self.mask.startswith('friend', position) and re.compile(
                r'friend\s+(class|struct)\b').match(self.mask, position):
            return self.to_semicolon(position), []

        def made(kind, name, end, sig_end):
            entity = Entity(kind, name, scope, access, self.header, self.line_of(position))
            entity.signature = self.text_of(begin, sig_end)
            entity.special = special
            return self.attach(entity, begin, end, before)

        if match := re.compile(r'concept\s+(\w+)').match(self.mask, position):
            end = self.to_semicolon(position)
            return end, [made('concept', match[1], end, end - 1)]
        if match := re.compile(r'using\s+(\w+)\s*(?:\[\[.*?\]\]\s*)?=').match(self.mask, position):
            end = self.to_semicolon(position)
            return end, [made('alias', match[1], end, end - 1)]
        if match := re.compile(r'using\s+(?:typename\s+)?([\w:<>, ]+?)::\s*(~?\w+|operator\s*\S+)\s*;').match(self.mask, position):
            entity = made('using', match[2], match.end(), match.end() - 1)
            entity.target = f'{match[1]}::{match[2]}'
            return match.end(), [entity]
        if self.mask.startswith('using', position) or re.compile(r'typedef\b').match(self.mask, position):
            self.fail(position, 'a using or typedef that is not understood')
        if match := re.compile(r'union\s*(?=\{)').match(self.mask, position):
            end = self.closing(match.end())      # its members are those of the class
            found = []
            self.scope_body(match.end() + 1, end - 1, scope, access, found, True)
            return self.to_semicolon(end), found
        if match := CLASS.match(self.mask, position):
            found = self.class_head(match, scope, made)
            if found is not None:
                return found
        return self.function_or_variable(begin, position, scope, access, in_class, made)

    def class_head(self, match, scope, made):
        position = self.skip_attributes(match.end())
        name = re.compile(r'(?:\w+\s*::\s*)*(\w+)').match(self.mask, position)
        if not name:
            self.fail(position, 'a class without a name')
        position = self.skip_space(name.end())
        special = '::' in name[0]
        if self.mask[position] == '<':
            special, position = True, self.skip_space(self.closing_angle(position))
        if final := re.compile(r'final\b').match(self.mask, position):
            position = self.skip_space(final.end())
        if self.mask[position] == ';':
            return position + 1, []
        head_end = position
        bases = ''
        if self.mask[position] == ':' and self.mask[position + 1] != ':':
            start = position + 1
            while self.mask[position] != '{':
                c = self.mask[position]
                position = (self.closing(position) if c == '(' else
                            self.closing_angle(position) if c == '<' else position + 1)
            bases = self.code[start:position]
            head_end = position
        if self.mask[position] != '{':
            return None                  # `struct X name;`
        end = self.closing(position)
        kind = 'enum' if match[1].startswith('enum') else match[1]
        entity = made(kind, name[1], end, head_end)
        # A comment behind the closing brace is not the class's.
        if special:
            entity.special = True
        if kind == 'enum':
            entity.members = self.enumerators(position + 1, end - 1, entity)
        else:
            for base in split(bases):
                words = re.sub(r'\b(virtual)\b', '', base).split(None, 1)
                if not words:
                    continue
                if words[0] in ('public', 'private', 'protected'):
                    entity.bases.append((words[0], re.sub(r'\s+', ' ', words[1].strip())))
                else:
                    entity.bases.append(('public' if kind == 'struct' else 'private', ' '.join(words)))
            inner = 'private' if kind == 'class' else 'public'
            self.scope_body(position + 1, end - 1, scope + (name[1],), inner, entity.members, True)
        position = self.skip_space(end)
        if self.mask[position] != ';':
            self.fail(end, 'a class that declares variables, too')
        return position + 1, [entity]

    def enumerators(self, position, end, enum):
        found = []
        while (position := self.skip_space(position)) < end:
            name = IDENTIFIER.match(self.mask, position)
            if not name:
                self.fail(position, 'an enumerator is expected')
            stop = position
            while stop < end and self.mask[stop] != ',':
                stop = self.closing(stop) if self.mask[stop] in CLOSING else stop + 1
            entity = Entity('enumerator', name[0], enum.path, 'public', self.header, self.line_of(position))
            entity.signature = self.text_of(position, stop)
            self.attach(entity, position, min(stop + 1, end), None)
            if self.line_of(position) == enum.line:     # the whole enum in one line
                entity.comment, entity.own = [], False
            found.append(entity)
            position = stop + 1
        return found

    def function_or_variable(self, begin, position, scope, access, in_class, made):
        friend = bool(re.compile(r'friend\b').match(self.mask, position))
        name = parameters = None
        word = None                # the last identifier, which a `(` makes a function's name
        equals = False
        sig_end = tail_begin = None
        while True:
            position = self.skip_space(position)
            c = self.mask[position]
            if self.mask.startswith('[[', position):
                position = self.closing(position)
            elif match := OPERATOR.match(self.mask, position) if name is None and not equals and not (
                    self.mask[position - 1].isalnum() or self.mask[position - 1] == '_') else None:
                end = match.end()
                if match[0].rstrip() == 'operator':       # a conversion
                    end = self.mask.index('(', end)
                word = re.sub(r'\s+', ' ', self.mask[position:end]).strip()
                word_at, position = position, end
                name = word
            elif c == '(':
                close = self.closing(position)
                if parameters is None and not equals and (name is not None or (
                        word and word not in NO_FUNCTION)):
                    if name is None and re.compile(r'\(\s*[*&]').match(self.mask, position):
                        name = re.compile(r'\(\s*[*&]+\s*(\w+)').match(self.mask, position)[1]
                        word = None
                        end = self.to_semicolon(position)
                        return end, [made('variable', name, end, end - 1)]
                    name, name_at = name or word, word_at
                    parameters = self.code[position + 1:close - 1]
                    tail_begin = close
                position = close
            elif c == '<' and not equals:
                position = self.closing_angle(position)
            elif c == '~' and name is None:
                position = self.skip_space(position + 1)
                word = IDENTIFIER.match(self.mask, position)
                word_at, position, word = position, word.end(), '~' + word[0]
            elif c == '{':
                if parameters is not None and not equals:
                    sig_end = position
                    end = self.closing(position)
                    break
                if sig_end is None and not equals:
                    sig_end = position
                position = self.closing(position)
            elif c == ';':
                end, sig_end = position + 1, sig_end if sig_end and parameters is not None else position
                break
            elif c == ':' and self.mask[position + 1] == ':':
                position += 2
            elif c == ':' and parameters is not None:
                sig_end = position
                end = self.constructor_body(position + 1)
                break
            elif c == '=' and self.mask[position + 1] != '=':
                equals = True
                position += 1
            elif c == '[':
                position = self.closing(position)
            elif match := IDENTIFIER.match(self.mask, position):
                if match[0] == 'requires' and parameters is not None:
                    position = self.skip_requires(match.end())
                    continue
                if parameters is None and not equals:
                    word, word_at = match[0], position
                position = match.end()
            elif c == '}':
                self.fail(begin, 'a declaration without an end')
            else:
                position += 1
        if parameters is None:
            if friend:
                return end, []
            if word is None:
                self.fail(begin, 'a declaration without a name')
            first = made('field' if in_class else 'variable', word, end, end - 1)
            found = [first]
            for part in split(self.mask[word_at:end - 1])[1:]:
                other = made(first.kind, IDENTIFIER.search(part)[0], end, end - 1)
                other.group = first
                found.append(other)
            return end, found
        before_name = self.mask[:name_at].rstrip()
        entity = made('function', name, end, sig_end)
        entity.parameters = re.sub(r'\s+', ' ', parameters)
        entity.tail = self.text_of(tail_begin, sig_end)
        entity.signature = re.sub(r'\s*=\s*default$', '', entity.signature)
        if before_name.endswith('::') and not re.search(r'\boperator', before_name[-12:]):
            entity.special = True       # a member, defined outside of its class
        if friend:
            entity.signature = re.sub(r'\bfriend\s+', '', entity.signature)
            entity.friend = True
            # What its class only lets in is declared, and documented, elsewhere.
            if self.mask[end - 1] == ';':
                return end, []
        # `{` or `}` of the body belong to the line in which the declaration ends.
        return end, [entity]

    def constructor_body(self, position):
        while True:
            while self.mask[position] not in '({':
                position = self.closing_angle(position) if self.mask[position] == '<' else position + 1
            position = self.skip_space(self.closing(position))
            if self.mask.startswith('...', position):
                position = self.skip_space(position + 3)
            if self.mask[position] == ',':
                position += 1
            elif self.mask[position] == '{':
                return self.closing(position)
            else:
                self.fail(position, 'a constructor without a body')


def tidy(lines):
    """The lines of a comment without what only draws: `// ---- errors ----`, and the space behind the slashes."""
    lines = [line[1:] if line.startswith(' ') else line for line in lines]
    lines = [line for line in lines if not re.match(r'-{4}|NOLINT', line)]
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def split(text):
    """At the commas that stand in no bracket."""
    parts, depth, last = [], 0, 0
    for i, c in enumerate(text):
        if c in '([{<':
            depth += 1
        elif c in ')]}' or (c == '>' and text[i - 1] != '-'):
            depth -= 1
        elif c == ',' and depth == 0:
            parts.append(text[last:i])
            last = i + 1
    parts.append(text[last:])
    return [part.strip() for part in parts if part.strip()]


def read(text, header):
    return Reader(text, header).read()
