// A library with 64 bytes of thread-local storage, which take of the little static room there is.
namespace {
thread_local char room[64];
}  // namespace

extern "C" __attribute__((visibility("default"))) char* tenant_room() { return room; }
