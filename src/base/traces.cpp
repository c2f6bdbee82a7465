// The table of traces. It is divided into parts, each with a lock of its own, by the address of the
// exception object. Under a lock nothing is allocated or freed, since that may be a user's code.
//
// Several threads may have one exception at once, and several copies of the library (one in a
// plug-in, one in the program) may trace it at once. Within a copy the lock decides. Copies know
// nothing of one another: each puts its own destructor in front of what it finds in the exception,
// in one atomic step, so that in the end they run one after another, each once.
#include "base/traces.hpp"

#include <unwind.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "asyncio/detail/refcount.hpp"
#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

#ifdef __GLIBCXX__

namespace {

// ---- what stands before an exception object ---------------------------------------------------

// Itanium C++ ABI, 2.2.1: the part of it that is next to the object. libstdc++ declares it in no
// public header; begin_tracing() checks that it is so.
struct Header {
    const std::type_info* type;
    void (*destructor)(void*);
    void (*unexpected)();
    void (*terminate)();
    void* next;
    int handlers;
    int handler_switch_value;
    const unsigned char* action_record;
    const unsigned char* language_data;
    std::uintptr_t catch_temporary;
    void* adjusted;
    _Unwind_Exception unwind;
};

// Safe because the object of an exception_ptr always has its header before it.
Header& header_of(void* object) noexcept { return static_cast<Header*>(object)[-1]; }

// "GNUCC++" and a zero: thrown by C++, and not a mere reference to another exception.
constexpr std::uint64_t kClass = 0x474e5543432b2b00;

// ---- places -----------------------------------------------------------------------------------

// A place whose texts are a copy, since the library that they stand in may be unloaded. Copies are
// kept for good: there are no more of them than there are co_awaits.
struct Place {
    Place* next;
    std::size_t hash;
    std::uint32_t line;
    std::size_t file_size;
    std::size_t function_size;
    char text[1];  // the file, a zero, the function, a zero

    const char* file() const noexcept { return text; }
    const char* function() const noexcept { return text + file_size + 1; }
};

struct Places {
    std::mutex mutex;
    Place* lists[256];
};
constinit Places places{};

std::size_t hash_of(std::string_view text, std::size_t hash) noexcept {
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;  // FNV
    }
    return hash;
}

Place* find_place(Place* list, std::size_t hash, std::uint32_t line, std::string_view file,
                  std::string_view function) noexcept {
    for (Place* p = list; p; p = p->next) {
        if (p->hash == hash && p->line == line && file == p->file() && function == p->function()) {
            return p;
        }
    }
    return nullptr;
}

// Null without memory.
const Place* copy_of(const std::source_location& where) noexcept {
    const std::string_view file = where.file_name();
    const std::string_view function = where.function_name();
    const std::size_t hash = hash_of(function, hash_of(file, 0xcbf29ce484222325) + where.line());
    Place*& list = places.lists[hash % std::size(places.lists)];
    const auto find = [&] {
        const std::lock_guard lock(places.mutex);
        return find_place(list, hash, where.line(), file, function);
    };
    if (const Place* found = find()) return found;
    void* const memory =
        ::operator new(sizeof(Place) + file.size() + function.size() + 1, std::nothrow);
    if (!memory) return nullptr;
    auto* const made =
        ::new (memory) Place{nullptr, hash, where.line(), file.size(), function.size(), {}};
    std::memcpy(made->text, file.data(), file.size() + 1);
    std::memcpy(made->text + file.size() + 1, function.data(), function.size() + 1);
    const std::lock_guard lock(places.mutex);
    if (Place* other = find_place(list, hash, where.line(), file, function)) {
        ::operator delete(memory);  // rare, and nobody's code that would come back here
        return other;
    }
    made->next = list;
    return list = made;
}

// ---- traces -----------------------------------------------------------------------------------

// The name of a task, shared by its frames in traces.
struct TaskName {
    std::atomic<std::uint32_t> references{1};
    std::size_t size = 0;
    char text[1];
};

TaskName* copy_of(std::string_view name) noexcept {
    void* const memory = ::operator new(sizeof(TaskName) + name.size(), std::nothrow);
    if (!memory) return nullptr;
    auto* const made = ::new (memory) TaskName;
    made->size = name.size();
    std::memcpy(made->text, name.data(), name.size());
    return made;
}

struct DropName {
    void operator()(TaskName* name) const noexcept {
        if (name->references.fetch_sub(1, std::memory_order_acq_rel) == 1) ::operator delete(name);
    }
};
using Name = std::unique_ptr<TaskName, DropName>;

struct Frame {
    std::uintptr_t place = 0;  // a source_location, or a Place plus 1; 0: none
    std::uintptr_t task = 0;   // odd: 2 * number + 1; even: a TaskName; 0: not the root of a task

    // Safe because only number() stores odd numbers.
    TaskName* name() const noexcept {
        return task & 1 ? nullptr : reinterpret_cast<TaskName*>(task);
    }
};

static_assert(sizeof(std::source_location) == sizeof(std::uintptr_t));

std::uintptr_t kept(const std::source_location& where) noexcept {
    const auto bits = std::bit_cast<std::uintptr_t>(where);
    // Safe because a source_location is a pointer to a constant (asserted above), or null.
    if (bits == 0 || stays_loaded(reinterpret_cast<const void*>(bits))) return bits;
    const Place* const copy = copy_of(where);
    // Safe because the number is turned back into this pointer only.
    return copy ? reinterpret_cast<std::uintptr_t>(copy) + 1 : 0;
}

constexpr std::size_t kFirst = 4;   // frames in the entry itself
constexpr std::size_t kInner = 12;  // the next ones, kept too
constexpr std::size_t kOuter = 16;  // of the rest, so many of the last

struct More {
    Frame inner[kInner];
    Frame outer[kOuter];       // frame n at n % kOuter
    std::uint64_t intact = 0;  // outer ones before this one have been overwritten
};

struct Entry {
    Entry* next = nullptr;
    std::uintptr_t key = 0;  // ~address, so that no leak checker takes it for a reference
    void (*original)(void*) = nullptr;
    More* more = nullptr;
    std::uint64_t count = 0;  // frames noted, and not cut
    Frame first[kFirst];

    // Where frame `n` is or would be; null if there is no room for it.
    Frame* at(std::uint64_t n) noexcept {
        if (n < kFirst) return &first[n];
        if (!more) return nullptr;
        n -= kFirst;
        return n < kInner ? &more->inner[n] : &more->outer[n % kOuter];
    }
    bool has(std::uint64_t n) const noexcept {
        return n < kFirst || (more && (n < kFirst + kInner || n >= more->intact));
    }
    // Returns the name that is kept no longer.
    TaskName* add(const Frame& frame) noexcept {
        const std::uint64_t n = count++;
        Frame* const room = at(n);
        if (!room) return frame.name();  // counted only
        if (more && n >= kFirst + kInner + kOuter) {
            more->intact = std::max(more->intact, n - kOuter + 1);
        }
        return std::exchange(*room, frame).name();
    }
};

void delete_entry(Entry* entry) noexcept {
    for (const Frame& f : entry->first) Name(f.name());
    if (entry->more) {
        for (const Frame& f : entry->more->inner) Name(f.name());
        for (const Frame& f : entry->more->outer) Name(f.name());
        delete entry->more;
    }
    delete entry;
}

std::uintptr_t key_of(const void* object) noexcept {
    // Safe because the number is only compared.
    return ~reinterpret_cast<std::uintptr_t>(object);
}

struct alignas(64) Part {
    std::mutex mutex;
    Entry** lists = nullptr;
    std::size_t size = 0;  // of lists: a power of two
    std::size_t count = 0;
    Entry* few[4] = {};

    std::size_t index(std::uintptr_t key, std::size_t n) const noexcept {
        // Bits 0 to 3 are those of an aligned address; the multiplication mixes the others upwards.
        return (key * 0x9e3779b97f4a7c15 >> 32) & (n - 1);
    }
    Entry*& list_of(std::uintptr_t key) noexcept {
        return lists ? lists[index(key, size)] : few[index(key, std::size(few))];
    }
    Entry* find(std::uintptr_t key) noexcept {
        Entry* e = list_of(key);
        while (e && e->key != key) e = e->next;
        return e;
    }
    void insert(Entry* e) noexcept {
        Entry*& list = list_of(e->key);
        e->next = list;
        list = e;
        ++count;
    }
    Entry* remove(std::uintptr_t key) noexcept {
        for (Entry** at = &list_of(key); *at; at = &(*at)->next) {
            if ((*at)->key != key) continue;
            --count;
            return std::exchange(*at, (*at)->next);
        }
        return nullptr;
    }
    std::size_t lists_now() const noexcept { return lists ? size : std::size(few); }
    bool crowded() const noexcept { return count > 2 * lists_now(); }
    // Returns what is to be freed.
    Entry** move_to(Entry** bigger, std::size_t n) noexcept {
        for (std::size_t i = 0; i < lists_now(); ++i) {
            for (Entry* e = lists ? lists[i] : few[i]; e;) {
                Entry*& list = bigger[index(e->key, n)];
                Entry* const next = std::exchange(e->next, list);
                list = e;
                e = next;
            }
        }
        size = n;
        return std::exchange(lists, bigger);
    }
};

constinit Part parts[16];
static_assert(std::is_trivially_destructible_v<Part>, "exceptions may go after all statics");

Part& part_of(std::uintptr_t key) noexcept {
    return parts[(key * 0x9e3779b97f4a7c15 >> 58) % std::size(parts)];
}

// While the process has one thread nothing is locked.
class Locked {
  public:
    explicit Locked(Part& part) noexcept : mutex_(single_threaded() ? nullptr : &part.mutex) {
        if (mutex_) mutex_->lock();
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    ~Locked() {
        if (mutex_) mutex_->unlock();
    }

  private:
    std::mutex* mutex_;
};

void make_room(Part& part) noexcept {
    std::size_t wanted = 0;
    {
        const Locked lock(part);
        if (!part.crowded()) return;
        wanted = 8 * part.lists_now();
    }
    std::unique_ptr<Entry*[]> bigger(new (std::nothrow) Entry*[wanted]());
    if (!bigger) return;
    const Locked lock(part);
    if (part.lists_now() >= wanted) return;  // another thread was here
    std::unique_ptr<Entry*[]> old(part.move_to(bigger.release(), wanted));
    bigger = std::move(old);
}

// What an exception that is traced has as its destructor.
void end_trace(void* object) {
    const std::uintptr_t key = key_of(object);
    Part& part = part_of(key);
    Entry* entry = nullptr;
    {
        const Locked lock(part);
        entry = part.remove(key);
    }
    if (!entry) return;  // cannot be
    void (*const original)(void*) = entry->original;
    delete_entry(entry);
    if (original) original(object);
}

// ---- on or off --------------------------------------------------------------------------------

enum class State : int { kUnknown, kOn, kOff };
constinit std::atomic<State> state{State::kUnknown};
constinit std::atomic<const void*> untraced{nullptr};

struct Probe {
    // NOLINTNEXTLINE(modernize-use-equals-default): it must not be trivial
    ~Probe() {}
};

bool header_is_as_expected() noexcept {
    const std::exception_ptr probe = std::make_exception_ptr(Probe());
    void* const object = object_of(probe);
    if (!object || thrown_type(probe) != &typeid(Probe)) return false;
    const Header& header = header_of(object);
    return header.type == &typeid(Probe) && header.unwind.exception_class == kClass &&
           header.destructor != nullptr;
}

bool begin_tracing() noexcept {
    const bool on = traces_wanted() && header_is_as_expected() && keep_loaded();
    state.store(on ? State::kOn : State::kOff, std::memory_order_release);
    return on;
}

bool tracing() noexcept {
    const State now = state.load(std::memory_order_acquire);
    return now == State::kOn || (now == State::kUnknown && begin_tracing());
}

// The object that is traced, or to be traced; null if it is not to be.
void* traceable(const std::exception_ptr& error) noexcept {
    if (!error || !tracing()) return nullptr;
    void* const object = object_of(error);
    if (object == untraced.load(std::memory_order_relaxed)) return nullptr;
    return header_of(object).unwind.exception_class == kClass ? object : nullptr;
}

// Puts end_trace() in front of the destructor, and the entry into the table.
void begin_trace(Part& part, Entry& entry, void* object) noexcept {
    entry.key = key_of(object);
    std::atomic_ref<void (*)(void*)> destructor(header_of(object).destructor);
    entry.original = destructor.load(std::memory_order_acquire);
    while (
        !destructor.compare_exchange_weak(entry.original, end_trace, std::memory_order_acq_rel)) {
    }
    part.insert(&entry);
}

enum class Needs : std::uint8_t { kNothing, kEntry, kMore };

// What a frame may need to be noted, and what is left over. Freed when nothing is locked.
struct Memory {
    std::unique_ptr<Entry> entry;
    std::unique_ptr<More> more;
    bool no_more = false;  // there is no memory for it
    Name old_name;
    bool crowded = false;
};

Needs add_frame(void* object, const Frame& frame, Memory& memory) noexcept {
    const std::uintptr_t key = key_of(object);
    Part& part = part_of(key);
    const Locked lock(part);
    Entry* entry = part.find(key);
    if (!entry) {
        if (!memory.entry) return Needs::kEntry;
        entry = memory.entry.release();
        begin_trace(part, *entry, object);
        memory.crowded = part.crowded();
    }
    if (entry->count == kFirst && !entry->more && !memory.no_more) {
        if (!memory.more) return Needs::kMore;
        entry->more = memory.more.release();
    }
    memory.old_name.reset(entry->add(frame));
    return Needs::kNothing;
}

// Returns false, and has noted nothing, if there is no memory for a first frame.
bool add_frame(void* object, const Frame& frame) noexcept {
    Memory memory;
    for (;;) {
        switch (add_frame(object, frame, memory)) {
            case Needs::kEntry:
                memory.entry.reset(new (std::nothrow) Entry);
                if (!memory.entry) return false;
                break;
            case Needs::kMore:
                memory.more.reset(new (std::nothrow) More);
                memory.no_more = !memory.more;
                break;
            case Needs::kNothing:
                if (memory.crowded) make_room(part_of(key_of(object)));
                return true;
        }
    }
}

}  // namespace

void note_frame(const std::exception_ptr& error, std::source_location place) noexcept {
    if (void* const object = traceable(error)) add_frame(object, {kept(place), 0});
}

void note_frame(const std::exception_ptr& error, std::source_location place,
                TraceTask task) noexcept {
    void* const object = traceable(error);
    if (!object) return;
    Name name(task.name.empty() ? nullptr : copy_of(task.name));
    // Safe because the number is turned back into this pointer only.
    const std::uintptr_t which =
        name ? reinterpret_cast<std::uintptr_t>(name.get()) : task.number << 1 | 1;
    if (add_frame(object, {kept(place), which})) static_cast<void>(name.release());
}

std::uint8_t frames_noted(const std::exception_ptr& error) noexcept {
    void* const object = traceable(error);
    if (!object) return 0;
    Part& part = part_of(key_of(object));
    const Locked lock(part);
    const Entry* const entry = part.find(key_of(object));
    return entry ? static_cast<std::uint8_t>(std::min<std::uint64_t>(entry->count, kMostCut)) : 0;
}

void cut_trace(const std::exception_ptr& error, std::uint8_t count) noexcept {
    void* const object = count == kMostCut ? nullptr : traceable(error);
    if (!object) return;
    Part& part = part_of(key_of(object));
    const Locked lock(part);
    Entry* const entry = part.find(key_of(object));
    if (entry && entry->count > count) entry->count = count;
}

void never_trace(const std::exception_ptr& error) noexcept {
    untraced.store(object_of(error), std::memory_order_relaxed);
}

namespace {

// A copy of what is noted, taken under the lock.
struct Snapshot {
    static constexpr std::size_t kMost = kFirst + kInner + kOuter;

    struct Copy {
        std::uintptr_t place;
        std::uintptr_t task;
        Name name;
        std::uint64_t left_out;
    };
    Copy frames[kMost];
    std::size_t count = 0;
    std::uint64_t left_out = 0;  // behind the last

    void take(Entry& entry) noexcept {
        for (std::uint64_t n = 0; n < entry.count; ++n) {
            if (!entry.has(n)) {
                const std::uint64_t next =
                    entry.more ? std::min(entry.more->intact, entry.count) : entry.count;
                left_out = next - n;
                n = next - 1;
                continue;
            }
            const Frame& f = *entry.at(n);
            TaskName* const name = f.name();
            if (name) name->references.fetch_add(1, std::memory_order_relaxed);
            frames[count++] = {f.place, f.task, Name(name), std::exchange(left_out, 0)};
        }
    }
};

NotedFrame noted(const Snapshot::Copy& copy) {
    NotedFrame frame;
    if (copy.place & 1) {
        // Safe because kept() has made the number of a Place, which stays for good.
        const auto* const place = reinterpret_cast<const Place*>(copy.place - 1);
        frame = {copy.left_out, place->file(), place->function(), place->line, false, {}};
    } else {
        const auto where = std::bit_cast<std::source_location>(copy.place);
        frame = {copy.left_out, where.file_name(), where.function_name(), where.line(), false, {}};
    }
    frame.is_root = copy.task != 0;
    if (copy.name) {
        frame.task.assign(copy.name->text, copy.name->size);
    } else if (copy.task != 0) {
        frame.task = "Task-" + std::to_string(copy.task >> 1);
    }
    return frame;
}

}  // namespace

std::vector<NotedFrame> noted_frames(const std::exception_ptr& error) {
    std::vector<NotedFrame> frames;
    void* const object = traceable(error);
    if (!object) return frames;
    Snapshot snapshot;
    {
        Part& part = part_of(key_of(object));
        const Locked lock(part);
        if (Entry* const entry = part.find(key_of(object))) snapshot.take(*entry);
    }
    frames.reserve(snapshot.count + 1);
    for (std::size_t i = 0; i < snapshot.count; ++i) frames.push_back(noted(snapshot.frames[i]));
    return frames;
}

void lock_traces() noexcept {
    places.mutex.lock();
    for (Part& part : parts) part.mutex.lock();
}

void unlock_traces() noexcept {
    for (Part& part : parts) part.mutex.unlock();
    places.mutex.unlock();
}

#else

void note_frame(const std::exception_ptr&, std::source_location) noexcept {}
void note_frame(const std::exception_ptr&, std::source_location, TraceTask) noexcept {}
std::uint8_t frames_noted(const std::exception_ptr&) noexcept { return 0; }
void cut_trace(const std::exception_ptr&, std::uint8_t) noexcept {}
void never_trace(const std::exception_ptr&) noexcept {}
std::vector<NotedFrame> noted_frames(const std::exception_ptr&) { return {}; }
void lock_traces() noexcept {}
void unlock_traces() noexcept {}

#endif

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
