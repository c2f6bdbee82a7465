// The loop's connect_read_pipe and connect_write_pipe: FIFOs, ends of pipes, terminals and other
// character devices as transports. PI-01, PI-02.
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Raise: as connect_read_pipe and connect_write_pipe.
ASYNCIO_API ReadTransport open_read_pipe(EventLoop& loop, Socket pipe,
                                         std::shared_ptr<BaseProtocol> protocol, Future<> waiter);
ASYNCIO_API WriteTransport open_write_pipe(EventLoop& loop, Socket pipe,
                                           std::shared_ptr<BaseProtocol> protocol, Future<> waiter);

template <class F>
using MadeBy = typename std::invoke_result_t<std::decay_t<F>&>::element_type;

// Owns `factory` and `pipe` until they are used.
template <class T, auto kOpen, class F>
Coroutine<std::pair<T, std::shared_ptr<MadeBy<F>>>> connect_pipe(EventLoop& loop, F factory,
                                                                 Socket pipe) {
    std::shared_ptr<MadeBy<F>> protocol = factory();
    Future<> made = loop.create_future();
    T transport = kOpen(loop, std::move(pipe), protocol, made);
    const auto outcome = co_await as_result(made);
    if (!outcome.has_value()) {
        transport.close();
        std::rethrow_exception(outcome.error());
    }
    std::pair<T, std::shared_ptr<MadeBy<F>>> connected(std::move(transport), std::move(protocol));
    co_return connected;
}

}  // namespace detail

template <class F>
auto EventLoop::connect_read_pipe(F&& factory, OwnedDescriptor pipe) {
    static_assert(detail::kSafeTemporary<F>,
                  "name this factory first (auto f = ...; co_await connect_read_pipe(f, fd)): this "
                  "compiler would copy its captures bitwise");
    return detail::connect_pipe<ReadTransport, &detail::open_read_pipe, std::decay_t<F>>(
        *this, std::forward<F>(factory), Socket(pipe.fileno()));
}

template <class F>
auto EventLoop::connect_write_pipe(F&& factory, OwnedDescriptor pipe) {
    static_assert(detail::kSafeTemporary<F>,
                  "name this factory first (auto f = ...; co_await connect_write_pipe(f, fd)): "
                  "this compiler would copy its captures bitwise");
    return detail::connect_pipe<WriteTransport, &detail::open_write_pipe, std::decay_t<F>>(
        *this, std::forward<F>(factory), Socket(pipe.fileno()));
}

}  // namespace v1
}  // namespace asyncio
