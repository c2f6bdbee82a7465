#include "asyncio/stdio.hpp"

#include <memory>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "loop/loop.hpp"
#include "net/pipes.hpp"
#include "os/descriptors.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// Closed unless all went well.
struct Opened {
    Ref<TransportBase> transports[3];
    bool kept = false;

    Opened() = default;
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() {
        for (const auto& t : transports) {
            if (t && !kept) t->close();
        }
    }
};

}  // namespace

Coroutine<StdioStreams> open_stdio(std::size_t limit) {
    EventLoop& loop = get_running_loop();
    Opened opened;
    std::shared_ptr<StreamReaderProtocol> protocols[3];
    StreamReader reader(limit);
    for (int fd = 0; fd < 3; ++fd) {
        Socket own(open_again(fd));
        auto& protocol = protocols[fd];
        protocol = std::make_shared<StreamReaderProtocol>(fd == 0 ? reader : StreamReader());
        Future<> made = loop.create_future();
        const auto make = fd == 0 ? &make_read_pipe : &make_write_pipe;
        opened.transports[fd] = make(loop, std::move(own), protocol, made, PipeKind::kFile);
        co_await made;
    }
    StdioStreams streams;
    streams.stdin_ = reader;
    streams.stdout_ = StreamWriter(BaseTransport(opened.transports[1]), protocols[1]);
    streams.stderr_ = StreamWriter(BaseTransport(opened.transports[2]), protocols[2]);
    opened.kept = true;
    co_return streams;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
