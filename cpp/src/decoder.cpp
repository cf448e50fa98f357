// SPDX-License-Identifier: Apache-2.0
#include "edgepose/decoder.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <chrono>

namespace edgepose {

namespace {

std::int32_t as_int(std::size_t value) noexcept { return static_cast<std::int32_t>(value); }
std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

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

// Starts the next run of `step`: `question`'s tokens from `slot` on; the caller pushes them.
Run& start_run(Step& step, std::size_t question, std::int32_t slot) {
  return step.runs.emplace_back(
      Run{.question = as_int(question), .slot = slot, .first = as_int(step.feeds.size())}
  );
}

}  // namespace

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
  const std::int64_t answer =
      options.mode == Mode::exact ? std::max(1, options.max_tokens) : form.longest();
  Extent extent;
  extent.prefix = static_cast<std::int64_t>(prompt.prefix.size());
  extent.questions = static_cast<std::int64_t>(prompt.questions.size());
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
  const Stopwatch watch(decoding.seconds.prefix);
  backend_->feed_prefix({prompt.prefix, prompt.image, prompt.grid, prompt.deepstack});
  decoding.passes.prefix = 1;
}

void Decoder::feed(Decoding& decoding) {
  const bool first = decoding.passes.suffix == 0;
  const Stopwatch watch(first ? decoding.seconds.suffix : decoding.seconds.decode);
  backend_->feed(step_);
  ++(first ? decoding.passes.suffix : decoding.passes.decode);
}

Decoding Decoder::decode(const Form& form, const Prompt& prompt, const DecodeOptions& options) {
  Decoding decoding;
  decoding.answers.resize(prompt.questions.size());
  for (Answer& answer : decoding.answers) {
    answer.tokens.reserve(as_size(form.longest()));
    answer.choices.reserve(as_size(form.longest()));
  }
  begin(form, prompt, options, decoding);
  if (options.mode == Mode::exact) {
    decode_exact(form, prompt, options, decoding);
  } else {
    decode_constrained(form, prompt, options, decoding);
  }
  decoding.seconds.graphs = backend_->graph_seconds();
  return decoding;
}

// No choice is read before the last step is fed, but at branches: elsewhere the form says what
// comes after a free token, whichever it is, so a token is fed by reference to the look that
// chooses it.
void Decoder::decode_constrained(
    const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
) {
  struct Progress {
    Grammar grammar;
    std::int32_t fed = 0;           // tokens in the cache
    std::vector<Feed> answer = {};  // forced tokens and choices, in order
    Feed pending = 0;               // chosen last, not yet fed
    bool branched = false;          // what comes behind it is not known either
  };
  const std::size_t count = prompt.questions.size();
  std::vector<Progress> progress;
  progress.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    progress.push_back(Progress{Grammar(form)});
    progress.back().answer.reserve(as_size(form.longest()));
  }

  std::int64_t looks = 0;
  for (bool first = true;; first = false) {
    step_.clear();
    step_.head = Head::answer;
    bool branches = false;
    for (std::size_t i = 0; i < count; ++i) {
      Progress& one = progress[i];
      if (one.grammar.finished()) continue;
      // Tokens that the form forces go along; behind the last free one they need not be fed.
      const std::size_t before = one.answer.size();
      while (const auto token = one.grammar.forced()) {
        one.answer.push_back(*token);
        one.grammar.accept(*token);
      }
      if (one.grammar.finished()) continue;
      Run& run = start_run(step_, i, one.fed);
      if (first) {
        const auto& question = prompt.questions[i];
        step_.feeds.insert(step_.feeds.end(), question.begin(), question.end());
      } else {
        step_.feeds.push_back(one.pending);
      }
      step_.feeds.insert(
          step_.feeds.end(),
          one.answer.begin() + static_cast<std::ptrdiff_t>(before),
          one.answer.end()
      );
      run.count = as_int(step_.feeds.size()) - run.first;
      run.looks = 1;
      const Slot& slot = one.grammar.slot();
      const auto banned = one.grammar.banned();
      step_.looks.push_back(
          {.alphabet = slot.alphabet,
           .penalised = options.penalise_numbers || !slot.number,
           .first_banned = as_int(step_.banned.size()),
           .banned = as_int(banned.size())}
      );
      step_.banned.insert(step_.banned.end(), banned.begin(), banned.end());
      one.fed += run.count;
      one.pending = chosen(looks++);
      one.answer.push_back(one.pending);
      one.branched = one.grammar.branches();
      branches |= one.branched;
      if (!one.branched) one.grammar.accept_choice();
    }
    if (step_.runs.empty()) break;
    feed(decoding);
    if (!branches) continue;
    const auto choices = backend_->choices();
    for (const Run& run : step_.runs) {
      Progress& one = progress[as_size(run.question)];
      if (!one.branched) continue;
      const std::int32_t token = choices[as_size(look_of(one.pending))].token;
      if (!one.grammar.accept(token)) {
        internal_error("decoder", message("token ", token, ", which the form does not allow"));
      }
    }
  }

  const auto choices = backend_->choices();
  for (std::size_t i = 0; i < count; ++i) {
    Answer& answer = decoding.answers[i];
    answer.follows_form = true;
    for (const Feed token : progress[i].answer) {
      answer.choices.push_back(
          is_choice(token) ? choices[as_size(look_of(token))]
                           : Choice{.token = token, .probability = 1, .share = 1}
      );
      answer.tokens.push_back(answer.choices.back().token);
    }
  }
}

// Greedy search with the form as a draft: forced tokens are fed before the model has confirmed
// them, and each is compared with the model's own choice among all tokens. From the first
// disagreement on the draft is dropped from the cache; an answer that has left the form is
// continued token by token.
void Decoder::decode_exact(
    const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
) {
  struct Progress {
    Grammar grammar;
    std::int32_t fed = 0;
    bool in_form = true;
    bool done = false;
    std::vector<std::int32_t> draft = {};
  };
  const std::size_t count = prompt.questions.size();
  std::vector<Progress> progress;
  progress.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    progress.push_back(Progress{Grammar(form)});
    progress.back().draft.reserve(as_size(form.longest()));
  }
  const auto budget = as_size(std::max(1, options.max_tokens));

  std::size_t looks_before = 0;
  for (bool first = true;; first = false) {
    step_.clear();
    step_.head = Head::full;
    for (std::size_t i = 0; i < count; ++i) {
      Progress& one = progress[i];
      Answer& answer = decoding.answers[i];
      if (one.done) continue;
      Run& run = start_run(step_, i, one.fed);
      if (first) {
        const auto& question = prompt.questions[i];
        step_.feeds.insert(step_.feeds.end(), question.begin(), question.end());
      } else {
        step_.feeds.push_back(answer.tokens.back());
      }
      one.draft.clear();
      while (one.in_form && answer.tokens.size() + one.draft.size() + 1 < budget) {
        const auto token = one.grammar.forced();
        if (!token || *token == options.end) break;  // nobody looks behind the end
        step_.looks.push_back({.alphabet = one.grammar.alphabet(), .penalised = true});
        step_.feeds.push_back(*token);
        one.draft.push_back(*token);
        one.grammar.accept(*token);
      }
      // Outside the form the numbers (alphabet 0) are measured.
      const bool in_slot = one.in_form && !one.grammar.finished();
      step_.looks.push_back({.alphabet = in_slot ? one.grammar.alphabet() : 0, .penalised = true});
      run.count = as_int(step_.feeds.size()) - run.first;
      run.looks = as_int(one.draft.size()) + 1;
    }
    if (step_.runs.empty()) break;
    feed(decoding);

    const auto choices = backend_->choices();
    std::size_t look = looks_before;
    for (const Run& run : step_.runs) {
      const auto i = as_size(run.question);
      Progress& one = progress[i];
      Answer& answer = decoding.answers[i];
      const std::size_t drafted = one.draft.size();
      std::size_t confirmed = 0;
      for (std::size_t k = 0; k <= drafted && !one.done; ++k) {
        const Choice& choice = choices[look + k];
        answer.tokens.push_back(choice.token);
        answer.choices.push_back(choice);
        one.done = choice.token == options.end || answer.tokens.size() == budget;
        if (k == drafted || choice.token != one.draft[k]) break;
        ++confirmed;
      }
      look += as_size(run.looks);
      one.fed += run.count - as_int(drafted - confirmed);
      if (confirmed < drafted) {
        backend_->truncate(run.question, one.fed);
        one.grammar.rollback(drafted - confirmed);
      }
      // An end may be part of the form, or stand behind it.
      const std::int32_t last = answer.tokens.back();
      const bool behind = one.grammar.finished() && last == options.end;
      one.in_form = one.in_form && (behind || one.grammar.accept(last));
    }
    looks_before = look;
  }
  for (std::size_t i = 0; i < count; ++i) {
    decoding.answers[i].follows_form = progress[i].in_form && progress[i].grammar.finished();
  }
}

}  // namespace edgepose
