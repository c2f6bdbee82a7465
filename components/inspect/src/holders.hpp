// Who holds a lock, as far as one has watched: a lock keeps no name of its holder, but who waited
// for it in one look and not in the next got it.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct Holder {
    Address task = 0;
    std::string name;
    double since = 0;  // time of day of the look that found it
};

using LockHolders = std::unordered_map<Address, Holder>;

class HolderWatch {
  public:
    // Compares a look with the one before. Returns the holders of the locks that tasks wait for; of
    // a lock that several left meanwhile it is not known which of them was the last.
    LockHolders see(const Snapshot& snapshot, double at);
    // What comes next has little to do with what was before.
    void forget();

  private:
    // By the id of a task that waited: its name, and for which lock.
    std::unordered_map<Address, std::pair<std::string, Address>> waited_;
    LockHolders holders_;
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
