// Where the lines of a trace go.
#pragma once

#include <cstdio>
#include <string>

namespace conformance {

class Trace {
  public:
    explicit Trace(std::FILE* out) : out_(out) {}

    void line(const std::string& text) {
        if (closed_) return;
        std::fwrite(text.data(), 1, text.size(), out_);
        std::fputc('\n', out_);
    }

    // After this nothing is printed any more.
    void close() {
        closed_ = true;
        std::fflush(out_);
    }

    bool closed() const { return closed_; }

  private:
    std::FILE* out_;
    bool closed_ = false;
};

}  // namespace conformance
