// SPDX-License-Identifier: Apache-2.0
#include "edgepose/answer_progress.hpp"

#include "edgepose/error.hpp"

#include <algorithm>

namespace edgepose {

// Note [guesses]
// A token may be fed before the model has said it: one that the form forces, or one of a draft. In
// constrained mode a forced token is certain and nobody looks; everything else that is fed ahead is
// looked at from the token before it and stays only if the model chooses it. The first difference
// ends that: the choice itself is right, since all before it is, and what was fed behind is dropped
// from the cache and from the penalty's history. So answers are those of decoding token by token,
// whatever was guessed.
//
// The first pass is offered what the caller believes in most, Guess::first. Behind a difference the
// rest of the draft may still fit (the next number, say), so the next pass is offered as much as
// the last one confirmed, twice that when all of it was right: a draft that does not fit costs
// little.

namespace {

std::int32_t as_int(std::size_t value) noexcept { return static_cast<std::int32_t>(value); }
std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

}  // namespace

AnswerProgress::AnswerProgress(
    const Form& form,
    const DecodeOptions& options,
    std::int32_t question,
    std::span<const std::int32_t> tokens,
    const Guess& draft
)
    : options_(&options),
      exact_(options.mode == Mode::exact),
      budget_(as_size(std::max(1, options.max_tokens))),
      question_(question),
      tokens_(tokens),
      grammar_(form),
      draft_(draft.tokens),
      first_offer_(as_size(std::max<std::int64_t>(0, draft.first))) {
  answer_.reserve(as_size(form.longest()));
}

bool AnswerProgress::done() const noexcept {
  if (!exact_) return grammar_.finished();
  return answer_.size() == budget_ || (!answer_.empty() && answer_.back().token == options_->end);
}

bool AnswerProgress::extend(Step& step, std::int64_t looks_before, Backend& backend) {
  Run run{.question = question_, .slot = as_int(fed_), .first = as_int(step.feeds.size())};
  bool reads = exact_;
  first_pass_ = fed_ == 0;
  offered_ = 0;
  while (!done()) {
    const bool in_slot = in_form() && !grammar_.finished();
    Entry entry;
    if (in_slot) entry.forced = grammar_.forced();
    entry.by_place = !in_slot || grammar_.slot().number;
    if (entry.forced && !exact_) {
      entry.token = *entry.forced;
      push(entry);
      continue;
    }
    flush(step, run);
    entry.look = looks_before + std::ssize(step.looks);
    look(step, run);
    ++run.looks;
    if (const auto token = guess(entry.forced)) {
      entry.token = *token;
      entry.drafted = token != entry.forced;
      offered_ += entry.drafted ? 1 : 0;
      reads |= entry.drafted;
      push(entry);
      continue;
    }
    entry.token = chosen(entry.look);
    reads |= grammar_.branches() || draft_.next();  // which goes on behind what is chosen
    push(entry);
    break;
  }
  if (run.count == 0) {
    if (!retired_) backend.retire(question_);
    retired_ = true;
    return false;
  }
  step.runs.push_back(run);
  return reads;
}

// Feeds everything that is known or guessed so far.
void AnswerProgress::flush(Step& step, Run& run) {
  auto& feeds = step.feeds;
  if (fed_ < tokens_.size()) {
    feeds.insert(feeds.end(), tokens_.begin(), tokens_.end());
    fed_ = tokens_.size();
  }
  for (; fed_ < tokens_.size() + answer_.size(); ++fed_) {
    feeds.push_back(answer_[fed_ - tokens_.size()].token);
  }
  run.count = as_int(feeds.size()) - run.first;
}

// Looks behind the last token that is fed.
void AnswerProgress::look(Step& step, const Run& run) {
  Look& look = step.looks.emplace_back();
  look.at = run.count - 1;
  // Outside the form the numbers (alphabet 0) are measured.
  const bool in_slot = in_form() && !grammar_.finished();
  if (in_slot) look.alphabet = grammar_.alphabet();
  look.penalised = exact_ || options_->penalise_numbers || !grammar_.slot().number;
  if (exact_) return;
  const auto banned = grammar_.banned();
  look.first_banned = as_int(step.banned.size());
  look.banned = as_int(banned.size());
  step.banned.insert(step.banned.end(), banned.begin(), banned.end());
}

// A draft that has fitted so far knows better than the form what a model says that leaves it.
std::optional<std::int32_t> AnswerProgress::guess(const std::optional<std::int32_t>& forced) const {
  const bool offers = first_pass_ ? draft_.place().at < first_offer_ : offered_ < most_offered_;
  const auto drafted = offers ? draft_.next() : std::nullopt;
  if (!exact_) return drafted && grammar_.allows(*drafted) ? drafted : std::nullopt;
  return forced && !(drafted && draft_.place().kept) ? forced : drafted;
}

void AnswerProgress::push(Entry entry) {
  entry.before = draft_.place();
  draft_.follow(entry.token, entry.by_place);
  if (in_form()) {
    if (!is_choice(entry.token)) {
      grammar_.accept(entry.token);
    } else if (!exact_ && !grammar_.branches()) {
      grammar_.accept_choice();
    }
  }
  answer_.push_back(entry);
}

void AnswerProgress::confirm(std::span<const Choice> choices, Backend& backend) {
  std::size_t accepted = 0;
  for (; confirmed_ < answer_.size(); ++confirmed_) {
    Entry& entry = answer_[confirmed_];
    if (entry.look < 0) continue;
    const std::int32_t token = choices[as_size(entry.look)].token;
    if (entry.token == token) {
      accepted += entry.drafted ? 1 : 0;
    } else if (is_choice(entry.token) && confirmed_ + 1 < answer_.size()) {
      entry.token = token;  // fed unread, by an earlier pass
    } else {
      replace(confirmed_, token, backend);
    }
  }
  drafts_.offered += static_cast<std::int64_t>(offered_);
  drafts_.accepted += static_cast<std::int64_t>(accepted);
  most_offered_ = std::max<std::size_t>(1, accepted == offered_ ? 2 * accepted : accepted);
}

void AnswerProgress::replace(std::size_t place, std::int32_t token, Backend& backend) {
  answer_.resize(place + 1);
  Entry& entry = answer_.back();
  entry.token = token;
  draft_.rewind(entry.before);
  draft_.follow(token, entry.by_place);
  if (grammar_.place() > place) grammar_.rollback(grammar_.place() - place);
  if (grammar_.place() == place && !grammar_.accept(token) && !exact_) {
    internal_error("decoder", message("token ", token, ", which the form does not allow"));
  }
  const std::size_t kept = tokens_.size() + place;
  if (fed_ > kept) {
    fed_ = kept;
    backend.truncate(question_, static_cast<std::int64_t>(kept));
  }
}

Answer AnswerProgress::finish(std::span<const Choice> choices) {
  Answer answer;
  answer.tokens.reserve(answer_.size());
  answer.choices.reserve(answer_.size());
  for (const Entry& entry : answer_) {
    answer.choices.push_back(
        entry.look < 0 ? Choice{.token = entry.token, .probability = 1, .share = 1}
                       : choices[as_size(entry.look)]
    );
    answer.tokens.push_back(answer.choices.back().token);
    drafts_.free += entry.forced != answer.tokens.back() ? 1 : 0;
  }
  // An end may be part of the form, or stand behind it.
  const bool behind = !answer_.empty() && answer_.back().token == options_->end &&
                      grammar_.place() + 1 == answer_.size();
  answer.follows_form = grammar_.finished() && (in_form() || behind);
  return answer;
}

}  // namespace edgepose
