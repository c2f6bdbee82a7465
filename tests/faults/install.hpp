#pragma once

namespace faults {

// To be called before the first loop is made.
void install();

}  // namespace faults
