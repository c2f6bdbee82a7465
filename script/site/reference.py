"""What the public headers declare, in the order and the groups in which it is shown, and which of it has no comment."""

import re
import textwrap

import headers

# What the library, the compiler or the standard library's templates ask for; no user writes these names.
FOR_THE_LIBRARY = frozenset('''promise_type asyncio_native asyncio_awaiter await_ready await_suspend await_resume
    await_result from_state value_type difference_type iterator_category reference pointer'''.split())
LABELS = re.compile(r'(?<![`\w])(Raises(?:,? \(?when awaited\)?,?)?|If cancelled):(?=\s)')
ROWS = re.compile(r'\b[A-Z]{1,3}-?\d+\b|\bto\b|\band\b')
FIRST_SENTENCE = re.compile(r'(.+?[.?!])(?=\s|$)', re.S)


class Entry:
    """Declarations that share a comment, or a class with its entries."""

    def __init__(self, entity, name):
        self.entities = [entity]
        self.name = name              # as users write it, without asyncio::
        self.entries = []             # of a class, an enumeration
        self.inherited = []           # (base as written, its Entry or None)
        self.anchor = None
        self.module = None
        self.owner = None

    @property
    def first(self):
        return self.entities[0]

    @property
    def is_class(self):
        return self.first.kind in ('class', 'struct', 'union', 'enum')

    @property
    def comment(self):
        return self.first.comment

    @property
    def names(self):
        """All that this entry documents, each once."""
        scope = self.name.rpartition('.')[0]
        return list(dict.fromkeys(f'{scope}.{e.name}' if scope else e.name for e in self.entities))

    @property
    def is_awaitable(self):
        return any(re.search(r'\bCoroutine<', e.signature.split('(')[0]) for e in self.entities if
                   e.kind == 'function') or (self.first.kind == 'function' and 'If cancelled:' in '\n'.join(self.comment))

    def walk(self):
        yield self
        for entry in self.entries:
            yield from entry.walk()


class Module:
    """A public header and those of the folder of its name; or a folder of headers."""

    def __init__(self, name, component=None):
        self.name, self.component = name, component
        self.headers = []        # paths below include/, the one to include first
        self.titles = {}         # header: the comment at its head
        self.entries = []

    @property
    def includes(self):
        """The headers that users include: the one of its name, or all of its folder."""
        return [name for name in self.headers if name.count('/') == 1] or self.headers

    @property
    def summary(self):
        return ' '.join(summary(self.titles[name]) for name in self.includes)


class Reference:
    def __init__(self, root):
        self.root = root
        self.modules = {}
        self.undocumented = []   # entities
        self.internal = {}       # path of a class in a namespace detail: the entity
        self.texts = {}          # header as it is included: (path below the root, text)
        self.names = {}          # 'Lock.acquire': Entry
        self.classes = {}
        self.count = 0
        self._read()
        self._index()

    # ---- reading

    def _folders(self):
        yield None, self.root / 'include'
        for folder in sorted((self.root / 'components').glob('*/include')):
            yield folder.parent.name, folder

    def _read(self):
        read = []
        for component, folder in self._folders():
            for path in sorted(folder.rglob('*.hpp')):
                name = str(path.relative_to(folder))
                text = path.read_text()
                place = str(path.relative_to(self.root))
                self.texts[name] = (place, text)
                found = headers.read(text, place)
                read.append((component, name, found))
                self._keep_internal(found.entities)
        for component, name, found in read:
            parts = name.removesuffix('.hpp').split('/')
            if parts[0] != 'asyncio' or len(parts) < 2 or 'detail' in parts:
                continue
            module = self.modules.setdefault(parts[1], Module(parts[1], component))
            module.titles[name] = found.title
            module.headers.insert(0 if len(parts) == 2 else len(module.headers), name)
            module.entries += self._entries(found.entities, None)
        for module in self.modules.values():
            module.entries = self._without_forward_declarations(module.entries)
            for entry in module.entries:
                for each in entry.walk():
                    each.module = module
        self.modules = {name: self.modules[name] for name in sorted(self.modules)
                        if self.modules[name].entries}

    def _without_forward_declarations(self, entries):
        """A function that is declared without a comment, and again with one, is that one."""
        documented = {e.signature for entry in entries for e in entry.entities if e.comment and e.kind == 'function'}
        forward = [entry.first for entry in entries if len(entry.entities) == 1 and not entry.comment
                   and entry.first.signature in documented]
        self.undocumented = [e for e in self.undocumented if e not in forward]
        return [entry for entry in entries if entry.first not in forward]

    def _keep_internal(self, entities):
        for entity in entities:
            if 'detail' in entity.scope and not entity.special and entity.kind in (
                    'class', 'struct', 'enum', 'function', 'alias'):
                self.internal.setdefault(entity.path, entity)

    def _entries(self, entities, owner):
        """The entries of a scope: what is hidden is left out, what has no comment is noted."""
        entries, by_entity = [], {}
        for entity in entities:
            if not self._is_shown(entity, owner):
                continue
            scope = owner.name + '.' if owner else ''.join(
                part + '.' for part in entity.scope[1:] if part != 'detail')
            if entity.kind == 'using':
                entity = self._used(entity, owner)
                if entity is None:
                    continue
            leading = by_entity.get(id(entity.group)) if entity.group else None
            if leading is not None and entity.kind not in ('class', 'struct', 'enum'):
                leading.entities.append(entity)
                by_entity[id(entity)] = leading
                continue
            entry = Entry(entity, scope + entity.name)
            entry.owner = owner
            by_entity[id(entity)] = entry
            entries.append(entry)
            if not says_something(entity.comment) and not entity.has_no_name:
                self.undocumented.append(entity)
            if entry.is_class:
                entry.entries = self._entries(entity.members, entry)
                self._add_bases(entry, entity)
        return entries

    def _is_shown(self, entity, owner):
        if entity.special or 'detail' in entity.scope and owner is None or entity.access == 'private':
            return False
        if entity.access == 'protected' and (not entity.comment or entity.name.endswith('_')):
            return False
        if entity.name in FOR_THE_LIBRARY or entity.name.startswith('~') and not entity.comment:
            return False
        if entity.is_deleted and not entity.own:
            return False
        if entity.comment and re.match(r'For the library\b', entity.comment[0]):
            return False
        if entity.is_virtual_again and not entity.own:
            return False
        # What is made as its base is; or from what only the library has.
        if owner is not None and entity.kind == 'function' and entity.name == owner.first.name and not entity.own and (
                'detail::' in entity.parameters or self._is_made_as_its_base(owner.first)):
            return False
        # Copies and moves are as one expects them, unless a comment says otherwise.
        if entity.has_no_name and not entity.own and owner is not None and (
                entity.name == 'operator=' or (entity.name == owner.first.name and '&' in entity.parameters)):
            return False
        return True

    @staticmethod
    def _is_made_as_its_base(entity):
        return any(m.kind == 'using' and m.target.split('::')[-2:-1] == [m.name] for m in entity.members)

    def _used(self, entity, owner):
        """What a using declaration stands for: a name of detail that is given to users, or nothing new."""
        if owner is not None:
            return None
        path = tuple(entity.target.split('::'))
        found = self.internal.get(path)
        if found is None:
            # Declared only; it is there to be passed on.
            return None if not entity.comment else entity
        return found

    def _add_bases(self, entry, entity):
        for access, base in entity.bases:
            if access != 'public':
                continue
            name = re.sub(r'<.*', '', base, flags=re.S)
            path = tuple(name.split('::'))
            internal = self.internal.get(('asyncio', *path)) if path[0] == 'detail' else None
            if internal is not None:
                # What a base of the library's own gives to its classes is not for users.
                given = [m for m in internal.members if m.access == 'public' and m.name.strip('~') != internal.name]
                entry.entries += self._entries(given, entry)
                self._add_bases(entry, internal)
            elif path[0] != 'detail':
                entry.inherited.append((base, name))

    # ---- names

    def _index(self):
        # Declarations that name the same thing more than once get numbers, in the order of the header.
        for module in self.modules.values():
            used = {}
            for entry in module.entries:
                for each in entry.walk():
                    n = used[each.name] = used.get(each.name, 0) + 1
                    each.anchor = anchor_of(each.name) + (f'-{n}' if n > 1 else '')
                    self.count += len(each.names)
                    for name in each.names:
                        self.names.setdefault(name, each)
        self.namespaces = {name.rpartition('.')[0] for name, entry in self.names.items()
                           if entry.owner is None} - {''}
        self.count = len(self.names)

    def member(self, name, module):
        """The member `name` of a class of `module`, if only one class has one; a function of the module is none."""
        found = {}
        for entry in module.entries:
            for each in entry.walk():
                if name in (n.rpartition('.')[2] for n in each.names):
                    found.setdefault(each.owner and each.owner.name, each)
        return next(iter(found.values())) if len(found) == 1 and None not in found else None

    def find(self, name, scope=''):
        """The entry that `name` (a::b or a.b) means in `scope` (a.b), or None."""
        name = name.replace('::', '.').removeprefix('asyncio.')
        while True:
            if found := self.names.get(f'{scope}.{name}' if scope else name):
                return found
            if not scope:
                break
            scope = scope.rpartition('.')[0]
        return None


def anchor_of(name):
    return re.sub(r'\s+', '', name)


def parts(comment):
    """[(label or None, [paragraphs])] of a comment: what it says, then `Raises`, `If cancelled`."""
    found = [(None, [])]
    for block in '\n'.join(comment).split('\n\n'):
        lines = [line for line in block.split('\n') if line.strip()]
        if not lines:
            continue
        if all(line.startswith('  ') for line in lines):      # drawn: a table, an example
            found[-1][1].append(('drawn', textwrap.dedent('\n'.join(lines))))
            continue
        if all(line.startswith(('- ', '  ')) for line in lines):
            items = re.split(r'^- ', '\n'.join(lines), flags=re.M)
            found[-1][1].append(('list', [' '.join(i.split()) for i in items if i.strip()]))
            continue
        if found[-1][0] is not None:
            found.append((None, []))
        pieces = LABELS.split(' '.join(line.strip() for line in lines))
        if pieces[0].strip():
            found[-1][1].append(('text', pieces[0].strip()))
        for label, text in zip(pieces[1::2], pieces[2::2]):
            found.append((label, [('text', text.strip())]))
    return [part for part in found if part[1]]


def says_something(comment):
    """Whether a comment tells what its name is: more than rows of the parity table, and what it raises."""
    for label, blocks in parts(comment):
        for kind, text in blocks:
            if label is None and (kind != 'text' or ROWS.sub('', text).strip(' .,;()')):
                return True
    return False


def summary(comment):
    for _, blocks in parts(comment):
        for kind, text in blocks:
            if kind == 'text':
                match = FIRST_SENTENCE.match(text)
                return match[1] if match else text
    return ''


def lay_out(signature, width=88):
    """A signature in lines: templates and requirements first, then long lists of parameters one a line."""
    lines = []
    signature = re.sub(r'\[\[nodiscard(?:\("[^"]*"\))?\]\]\s*', '', signature)
    while match := re.match(r'template <', signature):
        depth, i = 0, match.end() - 1
        while True:
            c = signature[i]
            depth += (c in '<(') - (c in ')' or (c == '>' and signature[i - 1] != '-'))
            i += 1
            if depth == 0:
                break
        lines.append(signature[:i])
        signature = signature[i:].lstrip()
        if signature.startswith('requires'):
            reader = headers.Reader.__new__(headers.Reader)
            reader.text = reader.mask = signature + '  ;'
            reader.header, reader.line_starts = '', [0]
            reader.match_brackets()
            end = reader.skip_requires(len('requires'))
            lines.append('    ' + signature[:end].strip())
            signature = signature[end:].lstrip()
    if len(signature) <= width:
        return '\n'.join([*lines, signature])
    if found := outer_parentheses(signature):
        begin, end = found
        parameters = headers.split(signature[begin + 1:end - 1])
        if parameters:
            lines.append(signature[:begin + 1])
            lines += [f'    {p},' for p in parameters[:-1]]
            lines.append(f'    {parameters[-1]}{signature[end - 1:]}')
            return '\n'.join(lines)
    return '\n'.join([*lines, signature])


def outer_parentheses(signature):
    """Where the parameters are: the first parentheses behind a name that stand in no angle brackets."""
    depth, i = 0, 0
    while i < len(signature):
        c = signature[i]
        if signature.startswith('operator', i):
            i = headers.OPERATOR.match(signature, i).end() if headers.OPERATOR.match(signature, i) else i + 8
            continue
        if c == '<':
            depth += 1
        elif c == '>' and signature[i - 1] != '-':
            depth -= 1
        elif c == '=' and depth == 0:
            return None
        elif c == '(' and depth == 0:
            level, j = 0, i
            while j < len(signature):
                level += (signature[j] == '(') - (signature[j] == ')')
                j += 1
                if level == 0:
                    break
            word = re.search(r'(\w+)\s*$', signature[:i])
            if not (word and word[1] in headers.NO_FUNCTION):
                return i, j
            i = j
            continue
        i += 1
    return None
