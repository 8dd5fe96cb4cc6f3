# Tells what Mail::DKIM makes of the signatures of a message: perl mail_dkim.pl ZONE < MESSAGE
# ZONE is a file of lines "name text", the TXT records there are.
use strict;
use warnings;

package Zone;

sub new { my ($class, %texts) = @_; return bless {%texts}, $class; }
sub errorstring { return 'NOERROR'; }

sub send {
    my ($self, $name, $type) = @_;
    my $reply = Net::DNS::Packet->new($name, $type);
    my $text = $self->{$name};
    if (defined $text) {
        my @strings = unpack('(a255)*', $text);
        $reply->push(answer => Net::DNS::RR->new(name => $name, ttl => 300, type => 'TXT', txtdata => \@strings));
    }
    else {
        $reply->header->rcode('NXDOMAIN');
    }
    return $reply;
}

package main;

use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS;

open(my $zone, '<', $ARGV[0]) or die $!;
my %texts = map { chomp; split(/ /, $_, 2) } <$zone>;
Mail::DKIM::DNS::resolver(Zone->new(%texts));
my $verifier = Mail::DKIM::Verifier->new();
binmode STDIN;
local $/ = undef;
$verifier->PRINT(<STDIN>);
$verifier->CLOSE;
print join(' ', $_->selector, $_->result_detail), "\n" for $verifier->signatures;
