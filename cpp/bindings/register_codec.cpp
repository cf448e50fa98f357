// SPDX-License-Identifier: Apache-2.0
#include "alphabets.hpp"
#include "edgepose/bin_codec.hpp"
#include "edgepose/digit_codec.hpp"
#include "module.hpp"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace edgepose::python {

namespace py = pybind11;

void register_codec(py::module_& module) {
  py::class_<Choice>(
      module, "Choice", "What was chosen at one position, and how sure the model was."
  )
      .def(
          py::init<std::int32_t, double, double, double, double>(),
          py::arg("token"),
          py::arg("probability") = 1.0,
          py::arg("share") = 1.0,
          py::arg("mean") = 0.0,
          py::arg("variance") = 0.0
      )
      .def_readonly("token", &Choice::token)
      .def_readonly("probability", &Choice::probability)
      .def_readonly("share", &Choice::share)
      .def_readonly("mean", &Choice::mean)
      .def_readonly("variance", &Choice::variance);

  py::class_<Answer>(module, "Answer", "The outcome of one question.")
      .def(
          py::init([](std::vector<Choice> choices, bool follows_form) {
            Answer answer;
            for (const Choice& choice : choices) answer.tokens.push_back(choice.token);
            answer.choices = std::move(choices);
            answer.follows_form = follows_form;
            return answer;
          }),
          py::arg("choices"),
          py::arg("follows_form")
      )
      .def_readonly("tokens", &Answer::tokens)
      .def_readonly("choices", &Answer::choices)
      .def_readonly("follows_form", &Answer::follows_form);

  py::class_<Number>(module, "Number", "One number of an answer, in the unit of its field.")
      .def_readonly("value", &Number::value, "As written.")
      .def_readonly(
          "expected", &Number::expected, "Expectation under the distribution over tokens."
      )
      .def_readonly("deviation", &Number::deviation, "Standard deviation, rounding included.");

  py::class_<Form>(module, "Form", "Which tokens may come where in an answer. Made by codecs.")
      .def_property_readonly(
          "longest", &Form::longest, "Most tokens of an answer, forced included."
      )
      .def_property_readonly("looks", &Form::looks, "Most free tokens of an answer.");

  py::class_<DigitCodec>(
      module, "DigitCodec", "Numbers as decimal text, ` [0.ddd,0.ddd]`, to and from tokens."
  )
      .def(
          py::init([](std::vector<std::int32_t> places,
                      std::int32_t open,
                      std::int32_t zero,
                      std::int32_t point,
                      std::int32_t comma,
                      std::int32_t close,
                      std::array<std::int32_t, 10> digits) {
            return DigitCodec(std::move(places), {open, zero, point, comma, close, digits});
          }),
          py::kw_only(),
          py::arg("places"),
          py::arg("open"),
          py::arg("zero"),
          py::arg("point"),
          py::arg("comma"),
          py::arg("close"),
          py::arg("digits")
      )
      .def_property_readonly("form", [](const DigitCodec& codec) { return codec.form(); })
      .def_property_readonly(
          "alphabets", [](const DigitCodec& codec) { return tokens_of(codec.alphabets()); }
      )
      .def_property_readonly(
          "length", [](const DigitCodec& codec) { return codec.form().longest(); }
      )
      .def_property_readonly("places", &DigitCodec::places, "Digits after the point of each field.")
      .def(
          "encode",
          [](const DigitCodec& codec, const std::vector<double>& numbers) {
            return codec.encode(numbers);
          },
          py::arg("numbers")
      )
      .def("read", &DigitCodec::read, py::arg("answer"));

  py::class_<BinCodec>(
      module, "BinCodec", "Numbers as one of `count` equally spaced bins, each bin a token."
  )
      .def(
          py::init<double, double, std::vector<std::int32_t>>(),
          py::kw_only(),
          py::arg("low"),
          py::arg("high"),
          py::arg("tokens")
      )
      .def_property_readonly("low", &BinCodec::low)
      .def_property_readonly("high", &BinCodec::high)
      .def_property_readonly("count", &BinCodec::count)
      .def("decode", &BinCodec::decode, py::arg("bin"))
      .def("encode", &BinCodec::encode, py::arg("number"))
      .def("encode_floor", &BinCodec::encode_floor, py::arg("number"))
      .def("read", &BinCodec::read, py::arg("choice"));
}

}  // namespace edgepose::python
