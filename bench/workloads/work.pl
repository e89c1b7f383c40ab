# What Perl is used for: lines split and matched, words counted in hashes, records built, sorted and joined.
#
#   perl work.pl LINES      prints counts and a checksum, the same in every run
use strict;
use warnings;

my ($lines) = @ARGV;
my $state = 1;

sub chance_below {    # a 31-bit linear congruence: perl's own rand differs between builds
    my ($bound) = @_;
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $bound;
}

my @vocabulary = map { join '', map { chr(97 + chance_below(26)) } 1 .. 3 + chance_below(9) } 1 .. 4000;

sub line_make {
    my ($number) = @_;
    my @words = map { $vocabulary[chance_below(scalar @vocabulary)] } 1 .. 5 + chance_below(10);
    return sprintf '%d;%s;%d', $number, join(' ', @words), chance_below(1000);
}

my (%count, %owners, @records);
for my $number (1 .. $lines) {
    my ($id, $text, $score) = split /;/, line_make($number);
    my @words = split / /, $text;
    $count{$_}++ for @words;
    push @{ $owners{ $words[0] } }, $id;
    (my $title = $text) =~ s/\b([a-z])/\U$1/g;
    push @records, { id => $id, title => $title, score => $score, words => \@words };
}

my @sorted = sort { $b->{score} <=> $a->{score} || $a->{title} cmp $b->{title} } @records;
my $joined = join "\n", map { "$_->{score} $_->{title}" } @sorted;
my @common = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9];
printf "%d %d %u %s\n", scalar keys %count, scalar keys %owners, unpack('%32C*', $joined), join ' ', @common;
