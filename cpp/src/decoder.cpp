// SPDX-License-Identifier: Apache-2.0
#include "edgepose/decoder.hpp"

#include "edgepose/answer_progress.hpp"
#include "edgepose/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace edgepose {

namespace {

// Adds the time until destruction to `seconds`.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds)
      : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

std::int64_t divide_up(std::int64_t count, std::int64_t by) noexcept {
  return count / by + (count % by > 0 ? 1 : 0);
}

}  // namespace

std::int64_t Decoder::groups(std::int64_t questions) const noexcept {
  return divide_up(questions, backend_->most_questions());
}

// Of all groups but the last, which may have fewer questions; the least for this number of groups.
std::int64_t Decoder::group_size(const Prompt& prompt) const noexcept {
  const std::int64_t questions = std::ssize(prompt.questions);
  return divide_up(questions, groups(questions));
}

void Decoder::begin(
    const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
) {
  EDGEPOSE_CHECK(
      form.alphabets() == backend_->alphabets(),
      InvalidInput,
      "[form] a form over the decoder's ",
      backend_->alphabets().size(),
      " alphabets; got one over ",
      form.alphabets().size(),
      " others; take form and alphabets from one codec"
  );
  EDGEPOSE_CHECK(!prompt.prefix.empty(), InvalidInput, "[prompt] a shared prefix; got no token");
  EDGEPOSE_CHECK(
      !prompt.questions.empty(), InvalidInput, "[prompt] at least one question; got none"
  );
  // Negative numbers mean something inside: an image row in the prefix, a choice behind it.
  for (const std::int32_t token : prompt.prefix) {
    EDGEPOSE_CHECK(
        token >= 0 || (token == kImageToken && prompt.image != nullptr),
        InvalidInput,
        "[prompt] token ids from 0 on, or ",
        kImageToken,
        " with image embeddings; got ",
        token
    );
  }
  std::size_t longest = 0;
  for (const auto& question : prompt.questions) {
    for (const std::int32_t token : question) {
      EDGEPOSE_CHECK(
          token >= 0,
          InvalidInput,
          "[prompt] token ids from 0 on in a question; got ",
          token,
          "; image rows belong in the prefix"
      );
    }
    EDGEPOSE_CHECK(
        !question.empty(), InvalidInput, "[prompt] at least one token a question; got none"
    );
    longest = std::max(longest, question.size());
  }
  EDGEPOSE_CHECK(
      prompt.drafts.empty() || prompt.drafts.size() == prompt.questions.size(),
      InvalidInput,
      "[drafts] one for each of ",
      prompt.questions.size(),
      " questions, or none; got ",
      prompt.drafts.size()
  );
  for (const Guess& draft : prompt.drafts) {
    for (const std::int32_t token : draft.tokens) {
      EDGEPOSE_CHECK(token >= 0, InvalidInput, "[drafts] token ids from 0 on; got ", token);
    }
  }
  const std::int64_t answer =
      options.mode == Mode::exact ? std::max(1, options.max_tokens) : form.longest();
  Extent extent;
  extent.prefix = static_cast<std::int64_t>(prompt.prefix.size());
  extent.questions = group_size(prompt);
  extent.suffix = static_cast<std::int64_t>(longest) + answer;
  extent.penalty = options.penalty;
  EDGEPOSE_CHECK(
      extent.prefix + extent.suffix <= options.max_positions,
      DecodeError,
      "[prompt] prompt and answer within the model's ",
      options.max_positions,
      " positions; got ",
      extent.prefix + extent.suffix,
      " tokens; shorten the keypoint's description"
  );
  backend_->begin(extent);
  looks_ = 0;
  stages_.assign(1, &DecodeSeconds::prefix);
  const Stopwatch watch(decoding.seconds.prefix);
  backend_->feed_prefix(
      {prompt.prefix, prompt.image, prompt.grid, prompt.deepstack, prompt.image_on_device}
  );
  decoding.passes.prefix = 1;
}

void Decoder::feed(Decoding& decoding, bool first) {
  stages_.push_back(first ? &DecodeSeconds::suffix : &DecodeSeconds::decode);
  const Stopwatch watch(decoding.seconds.*stages_.back());
  backend_->feed(step_);
  ++(first ? decoding.passes.suffix : decoding.passes.decode);
}

// No choice is read before the last step is fed, but where somebody guessed or at branches:
// elsewhere the form says what comes after a free token, whichever it is, so a token is fed by
// reference to the look that chooses it.
void Decoder::answer_group(std::span<AnswerProgress> group, Mode mode, Decoding& decoding) {
  for (bool first = true;; first = false) {
    step_.clear();
    step_.head = mode == Mode::exact ? Head::full : Head::answer;
    bool reads = false;
    for (AnswerProgress& answer : group) reads |= answer.extend(step_, looks_, *backend_);
    if (step_.runs.empty()) return;
    feed(decoding, first);
    looks_ += std::ssize(step_.looks);
    if (!reads) continue;
    const auto choices = backend_->choices();
    for (const Run& run : step_.runs) {
      group[static_cast<std::size_t>(run.question)].confirm(choices, *backend_);
    }
  }
}

Decoding Decoder::decode(const Form& form, const Prompt& prompt, const DecodeOptions& options) {
  Decoding decoding;
  begin(form, prompt, options, decoding);
  const auto size = static_cast<std::size_t>(group_size(prompt));
  const Guess nothing;
  std::vector<AnswerProgress> answers;
  answers.reserve(prompt.questions.size());
  for (std::size_t i = 0; i < prompt.questions.size(); ++i) {
    const Guess& draft = prompt.drafts.empty() ? nothing : prompt.drafts[i];
    const auto place = static_cast<std::int32_t>(i % size);
    answers.emplace_back(form, options, place, prompt.questions[i], draft);
  }
  for (std::size_t first = 0; first < answers.size(); first += size) {
    if (first > 0) backend_->next_questions();
    const std::size_t count = std::min(size, answers.size() - first);
    answer_group(std::span(answers).subspan(first, count), options.mode, decoding);
  }
  const auto choices = backend_->choices();
  decoding.answers.reserve(answers.size());
  for (AnswerProgress& answer : answers) {
    decoding.answers.push_back(answer.finish(choices));
    decoding.drafts.offered += answer.drafts().offered;
    decoding.drafts.accepted += answer.drafts().accepted;
    decoding.drafts.free += answer.drafts().free;
  }
  if (const auto passes = backend_->pass_seconds(); !passes.empty()) {
    decoding.seconds = {};
    for (std::size_t k = 0; k < passes.size(); ++k) decoding.seconds.*stages_[k] += passes[k];
  }
  decoding.seconds.graphs = backend_->graph_seconds();
  return decoding;
}

}  // namespace edgepose
