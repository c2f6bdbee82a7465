// An object that knows where it was made: one that a compiler copied bit by bit is found out.
#pragma once

#include <set>

namespace support {

class Tracked {
  public:
    Tracked(int value = 0) : value_(value) { made(); }
    Tracked(const Tracked& o) : value_(o.value_) {
        o.check();
        made();
    }
    Tracked& operator=(const Tracked& o) {
        o.check();
        check();
        value_ = o.value_;
        return *this;
    }
    ~Tracked() {
        check();
        alive.erase(this);
    }
    int value() const { return value_; }

    static inline std::set<const Tracked*> alive;
    static inline int wrong = 0;  // used or destroyed where none was made

  private:
    void made() {
        if (!alive.insert(this).second) ++wrong;
    }
    void check() const {
        if (!alive.count(this)) ++wrong;
    }
    int value_;
};

}  // namespace support
