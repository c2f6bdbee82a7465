// channel.send("text") into a Channel<int>
// says: send() takes an item of the channel
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Channel<int> channel) { co_await channel.send("text"); }
