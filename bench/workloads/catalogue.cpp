// catalogue.cpp - what a C++ program does with the standard library's containers: documents are parsed, indexed,
// searched, replaced and dropped, all of it in strings, maps, vectors, shared pointers and hash tables of the usual
// kind.
//
//   catalogue ROUNDS      prints one digest, the same in every run
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

constexpr unsigned documents_per_round = 2500;
constexpr std::size_t documents_kept = 6000; // older ones are dropped
constexpr unsigned vocabulary = 4000;

// Marsaglia's xorshift: the same everywhere, which the standard's distributions are not.
struct Chance {
    std::uint64_t state = 0x9E3779B97F4A7C15ULL;
    unsigned below(unsigned bound)
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return static_cast<unsigned>((state >> 33) % bound);
    }
};

struct Document {
    unsigned number;
    std::string title;
    std::vector<std::string> words;
    std::map<std::string, std::string> fields;
};

using Shared = std::shared_ptr<const Document>;

std::string word_make(unsigned number)
{
    std::string word;
    for (unsigned left = number * 2654435761U + 1; left > 0; left /= 23)
        word += static_cast<char>('a' + left % 23);
    return word;
}

std::string text_make(Chance &chance)
{
    std::ostringstream text;
    for (unsigned count = 5 + chance.below(60); count > 0; count--)
        text << word_make(chance.below(1 + chance.below(vocabulary))) << (chance.below(9) == 0 ? ".\n" : " ");
    return text.str();
}

Shared document_parse(unsigned number, const std::string &text)
{
    auto document = std::make_shared<Document>();
    std::istringstream input(text);
    document->number = number;
    for (std::string word; input >> word;)
        document->words.push_back(word);
    document->title = document->words.front() + " " + document->words.back();
    document->fields["length"] = std::to_string(text.size());
    document->fields["title of the document"] = document->title;
    return document;
}

class Catalogue {
public:
    void add(const Shared &document)
    {
        for (const std::string &word : document->words)
            index_[word].insert(document->number);
        by_number_[document->number] = document;
        order_.push_back(document);
        if (order_.size() > documents_kept)
            drop_oldest();
    }

    std::vector<Shared> find(const std::string &one, const std::string &other) const
    {
        std::vector<unsigned> numbers;
        std::vector<Shared> found;
        auto first = index_.find(one), second = index_.find(other);
        if (first == index_.end() || second == index_.end())
            return found;
        std::set_intersection(first->second.begin(), first->second.end(), second->second.begin(), second->second.end(),
                              std::back_inserter(numbers));
        for (unsigned number : numbers)
            found.push_back(by_number_.at(number));
        std::sort(found.begin(), found.end(),
                  [](const Shared &a, const Shared &b) { return a->title < b->title; });
        return found;
    }

    std::size_t words() const { return index_.size(); }

private:
    void drop_oldest()
    {
        Shared oldest = order_.front();
        order_.pop_front();
        by_number_.erase(oldest->number);
        for (const std::string &word : oldest->words) {
            auto place = index_.find(word);
            if (place != index_.end() && place->second.erase(oldest->number) > 0 && place->second.empty())
                index_.erase(place);
        }
    }

    std::unordered_map<std::string, std::set<unsigned>> index_;
    std::unordered_map<unsigned, Shared> by_number_;
    std::deque<Shared> order_;
};

} // namespace

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? std::atoi(argv[1]) : 4;
    Catalogue catalogue;
    Chance chance;
    std::uint64_t digest = 0;
    unsigned number = 0;
    for (int round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < documents_per_round; i++)
            catalogue.add(document_parse(number++, text_make(chance)));
        for (unsigned i = 0; i < documents_per_round; i++)
            for (const Shared &found : catalogue.find(word_make(chance.below(40)), word_make(chance.below(vocabulary))))
                digest = digest * 31 + found->number;
        digest = digest * 31 + catalogue.words();
    }
    std::printf("%llu\n", static_cast<unsigned long long>(digest));
}
