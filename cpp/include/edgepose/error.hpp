// SPDX-License-Identifier: Apache-2.0
// What this is: the error types that the core throws, and the check that throws them.
// Contract: messages read "[where] what was expected; what was got; what to do" and hold the value.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace edgepose {

// Base of all errors. Thrown itself only for defects of edgepose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

#define EDGEPOSE_ERROR(Name, PythonName, PythonBase, When) \
  class Name : public Error {                              \
   public:                                                 \
    using Error::Error;                                    \
  };
#include "edgepose/errors.def"
#undef EDGEPOSE_ERROR

// Joins the parts of a message with operator<<.
template <typename... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Throws Error for a broken promise inside edgepose itself.
[[noreturn]] void internal_error(const char* where, const std::string& what);

}  // namespace edgepose

// Throws `Type` with the joined message parts unless `condition` holds.
#define EDGEPOSE_CHECK(condition, Type, ...)                    \
  do {                                                          \
    if (!(condition)) {                                         \
      throw ::edgepose::Type(::edgepose::message(__VA_ARGS__)); \
    }                                                           \
  } while (false)
