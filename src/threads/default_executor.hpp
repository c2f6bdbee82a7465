// The pool of threads that a loop's run_in_executor() and to_thread() use unless another is named.
#pragma once

#include <memory>

#include "asyncio/threads/executors.hpp"
#include "loop/services.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class DefaultExecutor final : public LoopService {
  public:
    static const ServiceKey key;
    explicit DefaultExecutor(LoopCore& core) noexcept;
    void loop_closed() noexcept override;

    // The pool, made if need be. Raises: RuntimeError "Executor shutdown has been called".
    ThreadPoolExecutor& get();
    // In place of the one before. `executor` is not null.
    void replace(std::shared_ptr<ThreadPoolExecutor> executor) noexcept;
    // No more jobs from now on. Returns the pool, which may be null.
    std::shared_ptr<ThreadPoolExecutor> shut_down() noexcept;

  private:
    std::shared_ptr<ThreadPoolExecutor> pool_;
    bool shut_down_ = false;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
